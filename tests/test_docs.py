"""What the documentation says to do works as it stands."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.images import form, picture, sides

ROOT = Path(__file__).parents[1]


def blocks(page: Path, language: str = "sh") -> list[str]:
    """The code blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def test_the_session_api_by_hand_works_as_written(session_pool: str, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(picture(640, 480))
    script = "\necho\n".join(blocks(ROOT / "docs" / "session-api-by-hand.md"))
    assert "http://127.0.0.1:7075" in script
    script = "set -eu\n" + script.replace("http://127.0.0.1:7075", session_pool)
    told = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "Hello from Pillow" in told.stdout
    assert told.stdout.count('"Succeeded"') == 2
    cropped = (tmp_path / "cropped.jpg").read_bytes()
    assert (form(cropped), sides(cropped)) == ("JPEG", (300, 300))
