"""Install the transforms into the Python that runs this, under the name of their content.

    python bake.py FOLDER_OF_TRANSFORMS [TARGET]

Runs while the image is built, with nothing but the standard library. A session of this image then has the package
`transforms_<hash>` at hand, and a pipeline with the same transforms ships nothing; one with others ships its own, as to
any session. TARGET is the interpreter's own folder of packages unless told otherwise.
"""

from __future__ import annotations

import compileall
import importlib.util
import sys
import sysconfig
from pathlib import Path


def bake(transforms: Path, target: Path) -> str:
    """Write the package into `target`; its name."""
    path = transforms / "fingerprint.py"
    spec = importlib.util.spec_from_file_location("fingerprint", path) if path.exists() else None
    if spec is None or spec.loader is None:
        raise SystemExit(f"{transforms} is not the folder of the transforms: it has no fingerprint.py")
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
    print(bake(Path(sys.argv[1]), folder))  # noqa: T201 - for whoever watches the build
