"""Every shell script of the project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_shell_scripts_are_clean() -> None:
    scripts = [path for path in (ROOT / "scripts").rglob("*") if path.is_file() and _is_shell(path)]
    assert len(scripts) >= 18
    told = subprocess.run(
        [
            Path(sys.executable).parent / "shellcheck",
            "--external-sources",
            "--source-path=SCRIPTDIR",
            *scripts,
            ROOT / ".ci" / "run",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout


def _is_shell(path: Path) -> bool:
    first = path.read_bytes()[:40].split(b"\n")[0]
    return first.endswith((b"sh", b"bash")) or b"shellcheck shell=" in first
