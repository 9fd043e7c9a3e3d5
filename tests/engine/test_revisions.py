"""Recipe hashes and ledger rows hold revisions: names and comments of the engine's code make no job due."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline import recipes
from pipeline.engine.encode.formats import Webp
from pipeline.engine.encode.output import Output
from pipeline.engine.revisions import DECODERS
from pipeline.engine.transforms.registry import TRANSFORMS
from pipeline.runs.selection import reason_for
from pipeline.storage import Listed
from pipeline.storage.claim_decision import decide_claim
from pipeline.storage.entry import SUMMARY_COLUMNS, Entry, Version
from pipeline.storage.keys import JobKey

ROOT = Path(__file__).parents[2]
FILE = """
recipes:
  small: {transforms: [{resize: {width: 80}}], renditions: {a: {format: webp}}}
  soft: {transforms: [blur], renditions: {a: {format: jpeg, placeholder: blurhash}}}
  any: {renditions: {a: {format: auto, among: [webp, png]}, b: {format: png, transforms: [blur]}}}
  same: {renditions: {a: {format: keep}}}
"""
NOW = datetime.now(UTC)


def hashes() -> dict[str, str]:
    return {each.name: each.hash for each in recipes.loads(FILE)}


def changed(before: dict[str, str]) -> set[str]:
    return {name for name, each in hashes().items() if each != before[name]}


@pytest.mark.parametrize(
    ("part", "users"),
    [
        (TRANSFORMS["blur"], {"soft", "any"}),
        (TRANSFORMS["resize"], {"small"}),
        (TRANSFORMS["crop"], set()),
        (TRANSFORMS["to_srgb"], {"small", "soft", "any", "same"}),
        (Webp, {"small", "any", "same"}),
    ],
)
def test_a_new_revision_changes_the_recipes_that_use_it(
    part: Any, users: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hashes()
    monkeypatch.setattr(part, "revision", part.revision + 1)
    assert changed(before) == users


def test_a_new_revision_of_an_option_changes_its_users(monkeypatch: pytest.MonkeyPatch) -> None:
    before = hashes()
    monkeypatch.setitem(Output.revisions, "placeholder", 2)
    assert changed(before) == {"soft"}


def test_a_new_common_revision_changes_all_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = hashes()
    monkeypatch.setattr("pipeline.recipes.recipe.COMMON", 2)
    assert changed(before) == set(before)


def test_a_new_decoder_changes_no_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = hashes()
    monkeypatch.setitem(DECODERS, "GIF", 2)
    assert not changed(before)


def test_names_and_comments_of_the_engine_change_no_hash(tmp_path: Path) -> None:
    """A copy of the code with other comments, docstrings and names of modules and classes gives the same hashes."""
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__", "console"))
    for path in (tmp_path / "pipeline").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"\bpalettes\b", "color_tables", text)
        text = re.sub(r"\b(Blur|Webp|Resize)\b", r"Renamed\1", text)
        if "engine" in path.parts:
            text = re.sub(r'^    """(?=[A-Z])', '    """Another text. ', text, flags=re.MULTILINE)
            text += "\n# Another comment.\n"
        path.write_text(text, encoding="utf-8")
    for path in list((tmp_path / "pipeline" / "engine").rglob("palettes.py")):
        path.rename(path.with_name("color_tables.py"))
    program = "import json, sys; from pipeline import recipes; from pipeline.engine import base; "
    program += "found = {each.name: each.hash for each in recipes.loads(sys.stdin.read())}; "
    program += "print(json.dumps([base.__file__, found]))"
    told = subprocess.run(
        [sys.executable, "-P", "-c", program],
        input=FILE,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    place, found = json.loads(told.stdout)
    assert Path(place).is_relative_to(tmp_path)
    assert found == hashes()


def rows() -> Iterator[Entry]:
    """Rows of done and failed jobs for two formats, written and read back."""
    for state in ("done", "failed"):
        for source_format in ("GIF", "JPEG"):
            entry = Entry(
                JobKey.of("small", "in", f"{state}.{source_format}"),
                "in",
                "name",
                cast("Any", state),
                Version("etag", "hash"),
                source_format=source_format,
                decoder_revision=DECODERS[source_format],
            )
            row = {column: value for column, value in entry.to_row("small~00").items() if column in SUMMARY_COLUMNS}
            yield Entry.from_row(_Row(row))


class _Row(dict[str, Any]):
    """A table entity as the SDK returns it."""

    metadata = {"etag": "row-etag"}  # noqa: RUF012 - a stand-in


def test_a_new_decoder_makes_the_jobs_of_its_format_due(monkeypatch: pytest.MonkeyPatch) -> None:
    before, version = list(rows()), Version("etag", "hash")
    source, recipe = Listed("name", "etag", 0, "", NOW), cast("Any", SimpleNamespace(hash="hash", carry=()))
    recipe.needs_focal_point = False
    assert [reason_for(row, source, recipe, NOW) for row in before] == [row.state for row in before]
    monkeypatch.setitem(DECODERS, "GIF", DECODERS["GIF"] + 1)
    gifs = {("done", "GIF"), ("failed", "GIF")}
    due = {(row.state, row.source_format) for row in before if reason_for(row, source, recipe, NOW) == "recipe_changed"}
    claimed = {
        (row.state, row.source_format) for row in before if decide_claim(row, version, NOW, again=False) == "take"
    }
    assert due == claimed == gifs
    dismissed = replace(before[0], state="dismissed")
    assert (
        reason_for(dismissed, source, recipe, NOW) == decide_claim(dismissed, version, NOW, again=False) == "dismissed"
    )


def test_an_older_worker_leaves_the_result_of_a_newer_decoder() -> None:
    newer = replace(next(rows()), decoder_revision=DECODERS["GIF"] + 1)
    assert decide_claim(newer, Version("etag", "hash"), NOW, again=False) == "done"
