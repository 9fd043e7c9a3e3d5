"""Locate the files of the local stack."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE_FOLDER = ROOT / ".devstack"


def short_path(path: Path) -> str:
    """Return the path for messages: relative to the current folder if it is below it, and in UTF-8."""
    path = path.resolve()
    short = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return os.fsencode(short).decode(errors="backslashreplace")
