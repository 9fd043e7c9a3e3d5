"""Commands and examples in the documentation work as written."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from devstack import stack
from pipeline import recipes
from tests.images import detect_format, size

ROOT = Path(__file__).parents[1]


def blocks(page: Path, language: str = "sh") -> list[str]:
    """Return the code blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def test_the_page_on_the_session_api_works_as_written(session_pool: str, tmp_path: Path) -> None:
    stock(tmp_path)
    script = "\necho\n".join(blocks(ROOT / "docs" / "session-api-by-hand.md"))
    assert "http://127.0.0.1:7075" in script
    script = "set -eu\n" + script.replace("http://127.0.0.1:7075", session_pool)
    result = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Hello from Pillow" in result.stdout
    assert result.stdout.count('"Succeeded"') == 2
    cropped = (tmp_path / "cropped.jpg").read_bytes()
    assert (detect_format(cropped), size(cropped)) == ("JPEG", (300, 300))


def readme_block(command: str) -> str:
    """Return the README's only shell block with `command`, for a shell in an active environment.

    The environment of the tests need not have the console script `image-pipeline`: `python -m pipeline` replaces it.
    """
    (block,) = [block for block in blocks(ROOT / "README.md") if command in block]
    return block.replace("source .venv/bin/activate\n", "").replace("image-pipeline ", "python -m pipeline ")


def test_the_readme_quotes_the_shipped_recipes() -> None:
    (quoted,) = blocks(ROOT / "README.md", "yaml")
    shipped = (ROOT / "recipes.yaml").read_text().splitlines()
    without_comments = [re.sub(r"\s*#.*", "", line) for line in shipped]
    assert quoted.splitlines() == [line for line in without_comments if line]
    assert [recipe.name for recipe in recipes.loads(quoted)] == ["web", "tutorial"]


async def run(script: str, folder: Path) -> str:
    """Run a script, which must succeed, and return its output."""
    process = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", script, cwd=folder, stdout=PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.mark.timeout(300)
async def test_the_documented_http_requests_work_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stock(tmp_path)
    submit, curl = readme_block("image-pipeline submit"), readme_block("curl ")
    page = ROOT / "docs" / "http-api.md"
    (before,) = re.findall(r"^    set -a.*?\n\n", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    script = "\n".join(blocks(page))
    assert all("http://127.0.0.1:7071" in each for each in (curl, script))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PIPELINE_ADHOC_RECIPES", "on")
    async with stack.running(stack.StackOptions(data=None), lambda *_: None) as running:
        with stack.environment_file(running.settings, tmp_path / ".devstack" / "env"):
            assert "done" in await run(submit, tmp_path)
            await run(curl.replace("http://127.0.0.1:7071", running.hosts[0]), tmp_path)
            assert picture_of(tmp_path / "cropped.jpg") == ("JPEG", (300, 300))
            (tmp_path / "cropped.jpg").unlink()
            await run(before, tmp_path)
            result = await run(script.replace("http://127.0.0.1:7071", running.hosts[0]), tmp_path)
    made = {name: picture_of(tmp_path / name) for name in ("cropped.jpg", "gray.png", "thumb.jpg", "source.jpg")}
    assert made == {
        "cropped.jpg": ("JPEG", (300, 300)),
        "gray.png": ("PNG", (200, 200)),
        "thumb.jpg": ("JPEG", (300, 300)),
        "source.jpg": ("JPEG", (720, 480)),
    }
    for line in ("_adhoc-", "did you mean 'web'?", "problem:bad_request", "problem:not_an_image", "'done': 2"):
        assert line in result, result
    assert result.rstrip().splitlines()[-2] == "True", "health"


def stock(folder: Path) -> None:
    """Copy the photo to a folder in which the commands of a page run."""
    (folder / "scripts" / "az").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "az" / "photo.jpg", folder / "scripts" / "az")


def picture_of(path: Path) -> tuple[str, tuple[int, int]]:
    """Return the format and the size of an image file."""
    return detect_format(path.read_bytes()), size(path.read_bytes())


def test_links_in_the_documentation_have_targets() -> None:
    folders = [ROOT, *(ROOT / name for name in ("benchmarks", "docs", "examples", "infra"))]
    for page in [page for folder in folders for page in folder.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_recipe_commands_in_the_readme_work(tmp_path: Path) -> None:
    script = readme_block("image-pipeline recipes").replace("photo.jpg", f"photo.jpg --out {tmp_path}/preview")
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    result = subprocess.run(
        ["bash", "-euc", script], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=100, check=False
    )
    assert result.returncode == 0, result.stderr
    assert size((tmp_path / "preview" / "web" / "photo.jpg" / "thumb.jpg").read_bytes()) == (300, 300)


def test_the_page_about_performance_lists_every_metric() -> None:
    metrics = set(re.findall(r'"(pipeline\.[a-z_.]+)", "', (ROOT / "pipeline" / "telemetry.py").read_text()))
    assert len(metrics) == 9
    page = (ROOT / "docs" / "performance.md").read_text()
    assert not [metric for metric in metrics if f"`{metric}`" not in page]


def test_sections_that_scripts_name_exist() -> None:
    scripts = "".join(
        path.read_text() for path in (ROOT / "scripts").rglob("*") if path.suffix in ("", ".sh") and path.is_file()
    )
    named = re.findall(r"docs/(\w+)\.md, '([^']+)'", scripts)
    assert named
    assert not [
        (page, title) for page, title in named if f"## {title}\n" not in (ROOT / "docs" / f"{page}.md").read_text()
    ]
