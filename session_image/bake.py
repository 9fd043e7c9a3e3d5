"""Install the engine into the running Python, as a package whose name contains the hash of its content.

    python bake.py FOLDER_OF_TRANSFORMS [TARGET]

The image build calls this script; it needs only the standard library. A session of the image then has the package
`transforms_<hash>`. A pipeline with the same engine uploads nothing. A pipeline with another engine uploads its own, as
in any session. The default of TARGET is the interpreter's package folder.
"""

from __future__ import annotations

import compileall
import importlib.util
import sys
import sysconfig
from pathlib import Path


def bake(transforms: Path, target: Path) -> str:
    """Write the package into `target` and return its name."""
    path = transforms / "fingerprint.py"
    spec = importlib.util.spec_from_file_location("fingerprint", path) if path.exists() else None
    if spec is None or spec.loader is None:
        raise SystemExit(f"{transforms} is not the folder of the engine: fingerprint.py is missing")
    fingerprint = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fingerprint)
    name = f"transforms_{fingerprint.fingerprint()[:16]}"
    for module, source in fingerprint.sources().items():
        file = target / name / module
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(source)
    if not compileall.compile_dir(target / name, quiet=1):
        raise SystemExit(f"{name} does not compile with Python {sys.version.split()[0]}")
    return name


if __name__ == "__main__":
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(sysconfig.get_path("purelib"))
    print(bake(Path(sys.argv[1]), folder))  # noqa: T201 - shown in the log of the build
