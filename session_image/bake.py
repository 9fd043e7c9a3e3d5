"""Install the engine into the Python environment that runs this program, in a package named by the engine's content.

    python bake.py ENGINE_FOLDER [TARGET]

The image build runs this program; it needs the standard library only. A session of this image then has the package
`engine_<hash>`, and a pipeline with the same engine uploads nothing. A pipeline with another engine uploads its own, as
to any session. TARGET defaults to the site-packages folder of the interpreter.
"""

from __future__ import annotations

import compileall
import importlib.util
import sys
import sysconfig
from pathlib import Path


def bake(engine: Path, target: Path) -> str:
    """Copy the engine into `target` as a package and compile it. Return the name of the package.

    Raises:
        SystemExit: `engine` is not the folder of the engine, or the engine does not compile with this Python.
    """
    path = engine / "package_files.py"
    spec = importlib.util.spec_from_file_location("package_files", path) if path.exists() else None
    if spec is None or spec.loader is None:
        raise SystemExit(f"{engine} is not the folder of the engine: it has no package_files.py")
    files = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(files)
    name = f"engine_{files.package_digest()[:16]}"
    for module, source in files.package_files().items():
        file = target / name / module
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(source)
    if not compileall.compile_dir(target / name, quiet=1):
        raise SystemExit(f"{name} does not compile with Python {sys.version.split()[0]}")
    return name


if __name__ == "__main__":
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(sysconfig.get_path("purelib"))
    print(bake(Path(sys.argv[1]), folder))  # noqa: T201 - shown in the log of the build
