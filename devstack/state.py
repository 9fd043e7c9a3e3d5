"""Locate the files of the local stack."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE_FOLDER = ROOT / ".devstack"


def short_path(path: Path) -> Path:
    """Return the path relative to the current folder, if it is below that folder."""
    path = path.resolve()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
