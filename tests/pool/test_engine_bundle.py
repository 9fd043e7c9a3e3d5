"""Engine bundle: the same bytes every time, named by their hash, run by a constant program."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pipeline.engine import protocol
from pipeline.engine.package_files import package_digest
from pipeline.pool import engine_bundle


def test_the_bundle_is_reproducible_and_named_by_its_hash() -> None:
    first = engine_bundle.build()
    engine_bundle.build.cache_clear()
    assert engine_bundle.build() == first
    assert first.name == f"engine-{package_digest()[:16]}.zip"


def test_the_bundle_holds_every_module_and_nothing_else() -> None:
    folder = Path(protocol.__file__).parent
    with zipfile.ZipFile(io.BytesIO(engine_bundle.build().data)) as packed:
        names = {name.split("/", 1)[1] for name in packed.namelist()}
    assert names == {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}


def test_the_engine_runs_from_the_bundle_alone(tmp_path: Path) -> None:
    bundle = engine_bundle.build()
    (tmp_path / bundle.name).write_bytes(bundle.data)
    program = bundle.program("eyJ4IjoxfQ==").replace("/mnt/data", str(tmp_path))
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={}, capture_output=True, text=True, check=False
    )
    assert result.stderr == ""
    assert result.stdout.startswith(f"{protocol.REPORT_MARK} ")
    assert "bad_job" in result.stdout


def test_a_session_without_the_engine_reports_that() -> None:
    program = engine_bundle.build().program("eyJ4IjoxfQ==").replace("/mnt/data", "/nowhere")
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == engine_bundle.MISSING


@pytest.mark.parametrize("text", ['", "x"); import os; ("', "a b", "", "eyJ4IjoxfQ==\n", "{}"])
def test_only_base64_goes_into_the_code(text: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        engine_bundle.build().program(text)
