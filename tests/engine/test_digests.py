"""Rendered bytes change only with a new revision: see `digests.py`."""

from __future__ import annotations

import pytest

from pipeline.engine.encode.formats import FORMATS
from pipeline.engine.revisions import DECODERS
from pipeline.engine.transforms.registry import TRANSFORMS

from . import digests


def test_bytes_change_only_with_a_new_revision() -> None:
    before = digests.recorded().get(digests.platform_name())
    if before is None:
        pytest.skip(f"digests.json has no digests of {digests.platform_name()}: python -m tests.engine.digests --write")
    now = digests.computed()
    assert not digests.problems(before, now)
    known = {name: each for name, each in before.items() if name in now or "pillow_heif" not in name}
    stale = [name for name in known | now if now.get(name) != known.get(name) and "pillow_heif" not in name]
    assert not stale, "record the new revisions: python -m tests.engine.digests --write"


def test_cases_cover_all_transforms_encoders_and_decoders() -> None:
    cases = digests.cases()
    used = {name for case in cases.values() for name in case.recipe().revisions()}
    assert {f"transform {name}" for name in TRANSFORMS} <= used
    assert {f"encoder {name}" for name in FORMATS} <= used
    assert {case.decoder for case in cases.values()} >= set(DECODERS) - {"HEIF"}
    assert len(cases) >= 200


def test_recording_refuses_other_bytes_with_the_same_revisions() -> None:
    before = {"blur": {"digest": "1", "revisions": {}}, "crop": {"digest": "2", "revisions": {}}}
    alone = before | {"blur": {"digest": "3", "revisions": {}}}
    raised = before | {"blur": {"digest": "3", "revisions": {"transform blur": 2}}}
    assert len(digests.problems(before, alone)) == 1
    assert not digests.problems(before, raised)
