"""The deployed package is small and complete."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import yaml

from pipeline.errors import ConfigError
from pipeline.storage.deployment import NUMBER_FILE, read_number

ROOT = Path(__file__).parents[2]


def git(*arguments: str) -> list[str]:
    """Return the output lines of a git command."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone of the repository: git lists the deployed files")
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()


def deployed() -> list[str]:
    """Return the tracked files that .funcignore does not exclude."""
    ignored = git("ls-files", "--cached", "--ignored", "--exclude-from=.funcignore")
    return sorted(set(git("ls-files")) - set(ignored))


def test_the_package_is_smaller_than_a_megabyte() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as package:
        for name in deployed():
            package.write(ROOT / name, name)
    assert 50_000 < len(packed.getvalue()) < 1_000_000


def test_the_package_holds_only_the_app() -> None:
    app = set(git("ls-files", "pipeline")) - set(git("ls-files", "pipeline/testing"))
    assert set(deployed()) == {"function_app.py", "host.json", "recipes.yaml", "requirements.txt"} | app


def test_the_app_loads_from_the_package_alone(tmp_path: Path) -> None:
    for name in deployed():
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    environ = {"PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1", "IMAGES": "UseDevelopmentStorage=true"}
    code = "import function_app; print(len(function_app.app.get_functions()))"
    completed = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stderr
    assert int(completed.stdout) >= 6


def test_the_package_carries_a_deployment_number(tmp_path: Path) -> None:
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "scripts").mkdir()
    script = shutil.copy(ROOT / "scripts" / "package", tmp_path / "scripts")
    number = tmp_path / "pipeline" / NUMBER_FILE.name
    subprocess.run([script], check=True)
    assert abs(read_number(number) - time.time()) < 60
    subprocess.run([script, "--clean"], check=True)
    assert read_number(number) == 0
    number.write_text("yesterday")
    with pytest.raises(ConfigError, match="deploy the app again"):
        read_number(number)


def test_azd_packs_the_deployment_number() -> None:
    hooks = yaml.safe_load((ROOT / "azure.yaml").read_text())["services"]["app"]["hooks"]
    assert {name: hook["run"] for name, hook in hooks.items()} == {
        "prepackage": "scripts/package",
        "postdeploy": "scripts/package --clean",
    }
    assert NUMBER_FILE.relative_to(ROOT).as_posix() in (ROOT / ".gitignore").read_text().splitlines()


def test_files_that_git_ignores_are_not_deployed() -> None:
    lines = {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line}
    lines -= {NUMBER_FILE.relative_to(ROOT).as_posix()}
    ignored = {line.strip("/") for line in (ROOT / ".funcignore").read_text().splitlines()}
    assert lines <= ignored


def test_every_line_that_azure_installs_is_a_pin() -> None:
    text = (ROOT / "requirements.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    pin = re.compile(r"[a-z0-9._-]+(\[[a-z,]+\])?==[0-9][\w.+]*( ;[^\\]*?)?( +--hash=sha256:[0-9a-f]{64})*$")
    assert len(lines) > 20
    assert not [line for line in lines if not pin.match(line)]
