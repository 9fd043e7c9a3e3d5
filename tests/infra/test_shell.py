"""Every shell script of the project passes shellcheck."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_shell_scripts_pass_shellcheck() -> None:
    scripts = [path for path in (ROOT / "scripts").rglob("*") if path.is_file() and _is_shell(path)]
    assert len(scripts) >= 18
    result = subprocess.run(
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
    assert result.returncode == 0, result.stdout


def _is_shell(path: Path) -> bool:
    first = path.read_bytes()[:40].split(b"\n")[0]
    return first.endswith((b"sh", b"bash")) or b"shellcheck shell=" in first
