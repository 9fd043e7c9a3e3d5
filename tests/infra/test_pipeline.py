"""The CI workflow is valid, and its commands exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.azure import Azure

ROOT = Path(__file__).parents[2]
SHELLCHECK = Path(sys.executable).parent / "shellcheck"


@pytest.fixture
def jobs() -> dict[str, Any]:
    """Return the jobs of the workflow."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    return loaded["jobs"]


def commands(jobs: dict[str, Any]) -> list[str]:
    """Return the commands of all steps."""
    return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]


def test_it_lints_tests_compiles_builds_and_deploys(jobs: dict[str, Any]) -> None:
    run = "\n".join(commands(jobs))
    for wanted in ("scripts/test", "az bicep build", "scripts/image build", "scripts/deploy"):
        assert wanted in run
    assert set(jobs["deploy"]["needs"]) == set(jobs) - {"deploy"}


def test_it_deploys_by_federated_identity_without_a_secret(jobs: dict[str, Any]) -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert "secrets." not in text
    assert [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})] == ["deploy"]


def test_its_scripts_exist_and_accept_its_options(jobs: dict[str, Any]) -> None:
    for script in set(re.findall(r"scripts/[a-z-]+", "\n".join(commands(jobs)))):
        assert (ROOT / script).exists()
    deploy = next(command for command in commands(jobs) if "scripts/deploy" in command)
    known = (ROOT / "scripts" / "deploy").read_text()
    assert not [option for option in re.findall(r"--[a-z-]+", deploy) if f"{option})" not in known]


def test_it_passes_every_deployment_variable(jobs: dict[str, Any], azure: Azure) -> None:
    """A new runner has no azd environment: a variable that the workflow does not pass would return to its default."""
    (step,) = [step for step in jobs["deploy"]["steps"] if "scripts/deploy" in step.get("run", "")]
    given = json.loads((ROOT / "infra" / "main.parameters.json").read_text())["parameters"].values()
    variables = {re.sub(r"[${}]|=.*", "", each["value"]) for each in given}
    handed = {name for name, value in step["env"].items() if value == f"${{{{ vars.{name} }}}}"}
    assert handed == {name for name in variables if not name.startswith("AZURE_")} - {"SESSION_IMAGE"}
    wanted = {"MAX_SESSIONS": "50", "ALERT_EMAIL": "ops@example.com"}
    environ = dict.fromkeys(step["env"], "") | wanted
    environ |= {"NAME": "photos", "LOCATION": "westus2", "SUBSCRIPTION": azure.state["subscription"]}
    (azure.place / "step").write_text(f"#!/bin/bash\nset -e\ncd '{ROOT}'\n{step['run']}")
    (azure.place / "step").chmod(0o755)
    result = azure.run(str(azure.place / "step"), **environ)
    assert result.returncode == 0, result.stderr
    kept = azure.state["environments"]["photos"]
    assert {name: kept[name] for name in handed if kept.get(name)} == wanted


def test_the_token_for_the_photo_is_fetched_in_time(jobs: dict[str, Any]) -> None:
    steps = [step.get("uses", step.get("run", "")) for step in jobs["deploy"]["steps"]]
    login = steps.index("azure/login@v2")
    assert "--resource https://storage.azure.com" in steps[login + 1]


def test_user_namespaces_are_enabled_before_the_tests(jobs: dict[str, Any]) -> None:
    steps = [step.get("run", "") for step in jobs["test"]["steps"]]
    allowed = next(index for index, step in enumerate(steps) if "apparmor_restrict_unprivileged_userns=0" in step)
    assert allowed < steps.index("scripts/test")


def test_its_commands_pass_shellcheck(jobs: dict[str, Any]) -> None:
    for command in commands(jobs):
        script = re.sub(r"\$\{\{.*?\}\}", "value", command)
        result = subprocess.run(
            [SHELLCHECK, "--shell=bash", "-"], input=script, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout
