"""The figure on damage: its files are valid, its damage lies in pixel data, and its goals are met on a small scale."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.quality import damage


@pytest.mark.parametrize("kind", damage.kinds(), ids=lambda kind: kind.name)
def test_the_files_are_valid_and_mostly_pixels(kind: damage.Kind, tmp_path: Path) -> None:
    assert not damage.noticed(kind.body, tmp_path)
    assert len(kind.places()) > 0.7 * len(kind.body)
    (changed,) = damage.flipped(kind, 1)
    (place,) = [at for at, (old, new) in enumerate(zip(kind.body, changed, strict=True)) if old != new]
    assert place in kind.places()
    (tail,) = damage.cut(kind, 1)
    assert kind.body.startswith(tail)


def test_the_goals_are_met_on_a_small_scale(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHARP_FOLDER", str(tmp_path))
    rows = list(damage.rows(0.03))
    assert [row.what for row in rows if not row.met and row.measured != "not measured"] == []
    assert {row.measured for row in rows if "sharp" in row.what} == {"not measured"}


def test_the_same_files_are_made_every_time() -> None:
    assert damage.photo().tobytes() == damage.photo().tobytes()
    with Image.open(io.BytesIO(damage.kinds()[0].body)) as image:
        assert image.size == damage.SIZE
