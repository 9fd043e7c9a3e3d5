"""The workflow for users: it can be read, and runs what is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SHELLCHECK = Path(sys.executable).parent / "shellcheck"


@pytest.fixture
def jobs() -> dict[str, Any]:
    """The jobs of the workflow."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    return loaded["jobs"]


def commands(jobs: dict[str, Any]) -> list[str]:
    """Everything that its steps run."""
    return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]


def test_it_lints_tests_compiles_builds_and_deploys(jobs: dict[str, Any]) -> None:
    run = "\n".join(commands(jobs))
    for wanted in ("scripts/test", "az bicep build", "scripts/image build", "scripts/deploy"):
        assert wanted in run
    assert set(jobs["deploy"]["needs"]) == set(jobs) - {"deploy"}


def test_it_deploys_with_trust_and_without_a_secret(jobs: dict[str, Any]) -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert "secrets." not in text
    assert [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})] == ["deploy"]


def test_the_scripts_that_it_runs_are_there_and_take_these_options(jobs: dict[str, Any]) -> None:
    for script in set(re.findall(r"scripts/[a-z-]+", "\n".join(commands(jobs)))):
        assert (ROOT / script).exists()
    deploy = next(command for command in commands(jobs) if "scripts/deploy" in command)
    known = (ROOT / "scripts" / "deploy").read_text()
    assert not [option for option in re.findall(r"--[a-z-]+", deploy) if f"{option})" not in known]


def test_its_commands_are_clean_shell(jobs: dict[str, Any]) -> None:
    for command in commands(jobs):
        script = re.sub(r"\$\{\{.*?\}\}", "value", command)
        told = subprocess.run(
            [SHELLCHECK, "--shell=bash", "-"], input=script, capture_output=True, text=True, check=False
        )
        assert told.returncode == 0, told.stdout
