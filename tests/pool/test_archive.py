"""The engine as it is shipped: the same bytes every time, under a name of its content, run by a constant program."""

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


def test_the_same_engine_gives_the_same_bytes_under_the_name_of_its_content() -> None:
    first = engine_bundle.build()
    engine_bundle.build.cache_clear()
    assert engine_bundle.build() == first
    assert first.name == f"engine-{package_digest()[:16]}.zip"


def test_every_module_is_in_it_and_nothing_else() -> None:
    here = Path(protocol.__file__).parent
    with zipfile.ZipFile(io.BytesIO(engine_bundle.build().data)) as packed:
        names = {name.split("/", 1)[1] for name in packed.namelist()}
    assert names == {path.relative_to(here).as_posix() for path in here.rglob("*.py")}


def test_it_runs_from_the_archive_with_nothing_of_the_host_at_hand(tmp_path: Path) -> None:
    shipped = engine_bundle.build()
    (tmp_path / shipped.name).write_bytes(shipped.data)
    program = shipped.program("eyJ4IjoxfQ==").replace("/mnt/data", str(tmp_path))
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={}, capture_output=True, text=True, check=False
    )
    assert told.stderr == ""
    assert told.stdout.startswith(f"{protocol.REPORT_MARK} ")
    assert "bad_job" in told.stdout


def test_a_session_without_it_says_so() -> None:
    program = engine_bundle.build().program("eyJ4IjoxfQ==").replace("/mnt/data", "/nowhere")
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == engine_bundle.MISSING


@pytest.mark.parametrize("text", ['", "x"); import os; ("', "a b", "", "eyJ4IjoxfQ==\n", "{}"])
def test_only_base64_ever_goes_into_the_code(text: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        engine_bundle.build().program(text)
