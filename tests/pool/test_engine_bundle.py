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
from tests.engine.conftest import KEY


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


def printed(folder: Path) -> str:
    """Execute the program in a new interpreter, with `folder` in place of the session's directory."""
    program = engine_bundle.build().program("eyJ4IjoxfQ==", KEY).replace("/mnt/data", str(folder))
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env={}, capture_output=True, text=True, check=False
    )
    assert result.stderr == ""
    return result.stdout


def test_the_engine_runs_from_the_bundle_alone(tmp_path: Path) -> None:
    bundle = engine_bundle.build()
    (tmp_path / bundle.name).write_bytes(bundle.data)
    ref = protocol.parse_report_line(printed(tmp_path), KEY)
    assert ref is not None
    assert b"bad_job" in (ref["body"] or b"")


def test_a_session_without_the_engine_reports_that(tmp_path: Path) -> None:
    assert printed(tmp_path) == f"{engine_bundle.MISSING} {KEY}\n"


def test_another_archive_is_not_imported(tmp_path: Path) -> None:
    bundle = engine_bundle.build()
    with zipfile.ZipFile(tmp_path / bundle.name, "w") as archive:
        archive.writestr(f"engine_{bundle.digest}/__init__.py", "print('foreign code')")
    assert printed(tmp_path) == f"{engine_bundle.CHANGED} {KEY}\n"


def test_a_package_of_the_engines_name_counts_only_in_an_image_that_may_hold_it(tmp_path: Path) -> None:
    bundle = engine_bundle.build()
    package = tmp_path / f"engine_{bundle.digest}"
    package.mkdir()
    (package / "__init__.py").write_text("print('foreign code')")
    assert printed(tmp_path) == f"{engine_bundle.MISSING} {KEY}\n"


@pytest.mark.parametrize("text", ['", "x"); import os; ("', "a b", "", "eyJ4IjoxfQ==\n", "{}"])
def test_only_base64_goes_into_the_code(text: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        engine_bundle.build().program(text, KEY)


@pytest.mark.parametrize("key", ["", "0" * 31, "g" * 32, KEY + "\n"])
def test_only_a_key_of_32_digits_goes_into_the_code(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        engine_bundle.build().program("eyJ4IjoxfQ==", key)
