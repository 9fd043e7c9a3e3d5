"""What the documentation says to do works as it stands."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

from devstack import stack
from pipeline import recipes
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


def test_the_recipe_in_the_readme_is_right() -> None:
    (text,) = blocks(ROOT / "README.md", "yaml")
    (recipe,) = recipes.loads(text)
    assert recipe.matches("photos/a.jpg")


async def test_the_request_in_the_readme_answers_with_the_cropped_image(tmp_path: Path) -> None:
    photo, cropped = tmp_path / "photo.jpg", tmp_path / "cropped.jpg"
    photo.write_bytes(picture(640, 480))
    (script,) = [block for block in blocks(ROOT / "README.md") if block.startswith("curl")]
    async with stack.running(stack.Options(data=None), lambda *_: None) as running:
        process = await asyncio.create_subprocess_exec(
            "bash", "-euc", f"functions={running.hosts[0]}\n{script}", cwd=tmp_path
        )
        assert await process.wait() == 0
    assert (form(cropped.read_bytes()), sides(cropped.read_bytes())) == ("JPEG", (300, 300))


def test_every_link_in_the_documentation_leads_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "infra" / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_commands_about_recipes_in_the_readme_work(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(picture(640, 480))
    (script,) = [block for block in blocks(ROOT / "README.md") if block.startswith("python -m pipeline recipes")]
    script = script.replace("photo.jpg", f"{tmp_path}/photo.jpg --out {tmp_path}/preview")
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    told = subprocess.run(
        ["bash", "-euc", script], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=100, check=False
    )
    assert told.returncode == 0, told.stderr
    assert sides((tmp_path / "preview" / "web" / "photo.jpg" / "thumb.jpg").read_bytes()) == (300, 300)
