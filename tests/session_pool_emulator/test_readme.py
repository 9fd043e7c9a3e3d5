"""Example in the README of the package."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.session_pool_emulator.emulator import REPOSITORY


def test_the_example_in_the_readme_works(session_pool: str, tmp_path: Path) -> None:
    readme = (REPOSITORY / "packages" / "session_pool_emulator" / "README.md").read_text()
    (example,) = re.findall(r"^```sh\n(endpoint=.*?)^```$", readme, flags=re.DOTALL | re.MULTILINE)
    script = "set -eu\n" + example.replace("http://127.0.0.1:7075", session_pool)
    result = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert '"stdout":"HELLO\\n"' in result.stdout
    assert result.stdout.endswith("HELLO")
