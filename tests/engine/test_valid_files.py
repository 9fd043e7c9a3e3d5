"""Valid files: every format and variant that the decoders read is accepted, and nothing of it is called damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.engine.decode.source import open_source
from tests.hostile.jobs import FORMATS

from .conftest import LIMITS, Run, job, rendition
from .valid_files import valid_files


def test_there_are_at_least_300_valid_files() -> None:
    assert len(valid_files()) >= 300
    assert len(set(valid_files().values())) >= 300


@pytest.mark.parametrize("name", valid_files())
def test_a_valid_file_is_accepted_and_not_marked(run: Run, tmp_path: Path, name: str) -> None:
    report = run(valid_files()[name], job(rendition("out", "png", compression=1), formats=FORMATS))
    assert report["failure"] is None, report["failure"]
    assert report["renditions"][0]["extra"] == {}
    (tmp_path / "in.bin").write_bytes(valid_files()[name])
    with open_source(tmp_path / "in.bin", FORMATS, LIMITS) as source:
        assert (source.damage, source.dropped) == ("", set())
