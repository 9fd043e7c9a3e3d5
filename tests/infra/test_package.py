"""What is deployed: small, and complete."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def git(*arguments: str) -> list[str]:
    """The lines that git prints."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone of the repository: which files are deployed is asked of git")
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()


def deployed() -> list[str]:
    """The files that are left when .funcignore has been heeded."""
    ignored = git("ls-files", "--cached", "--ignored", "--exclude-from=.funcignore")
    return sorted(set(git("ls-files")) - set(ignored))


def test_the_package_is_smaller_than_a_megabyte() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as package:
        for name in deployed():
            package.write(ROOT / name, name)
    assert 50_000 < len(packed.getvalue()) < 1_000_000


def test_only_what_runs_is_in_it() -> None:
    outside = {name for name in deployed() if not name.startswith("pipeline/")}
    assert outside == {".funcignore", "function_app.py", "host.json", "recipes.yaml", "requirements.txt"} & outside
    assert {"function_app.py", "host.json", "recipes.yaml", "requirements.txt"} <= outside


def test_the_app_loads_from_the_package_alone(tmp_path: Path) -> None:
    for name in deployed():
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    environ = {"PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1", "IMAGES": "UseDevelopmentStorage=true"}
    code = "import function_app; print(len(function_app.app.get_functions()))"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert int(told.stdout) >= 6


def test_what_git_leaves_alone_is_not_deployed_either() -> None:
    lines = {line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line}
    ignored = {line.rstrip("/") for line in (ROOT / ".funcignore").read_text().splitlines()}
    assert lines <= ignored


def test_every_line_that_azure_installs_is_a_pin() -> None:
    text = (ROOT / "requirements.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    pin = re.compile(r"[a-z0-9._-]+(\[[a-z,]+\])?==[0-9][\w.+]*( ;[^\\]*?)?( +--hash=sha256:[0-9a-f]{64})*$")
    assert len(lines) > 20
    assert not [line for line in lines if not pin.match(line)]
