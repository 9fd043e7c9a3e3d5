"""Broken images of every allowed format: every job is done, or fails with one of the pipeline's reasons."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from pipeline.engine.execution import jobs
from tests.hostile import outcomes
from tests.hostile.files import generated, mutated, seeds
from tests.hostile.jobs import JOBS, violation
from tests.hostile.outcomes import Outcome, Report, process_all
from tests.stack import Stack, environment, open_stack


@pytest_asyncio.fixture
async def stack(azurite: str, session_pool: str, tmp_path: Path) -> AsyncIterator[Stack]:
    recipe_file = tmp_path / "recipes.yaml"
    recipe_file.write_text(outcomes.RECIPES)
    async with open_stack(environment(azurite, session_pool, recipe_file)) as stack:
        yield stack


async def test_broken_images_cost_no_session_and_are_tried_once(stack: Stack, tmp_path: Path) -> None:
    """For more files run `python -m tests.hostile FOLDER --generate N`."""
    files = [*seeds().items(), *generated(120, 7)]
    report = await process_all(stack, tmp_path / "no.log", files, 4)
    assert report.violations == [], report.table()
    assert len(report.outcomes) == len(files)
    valid = {outcome.name: outcome.result for outcome in report.outcomes if outcome.name in seeds()}
    assert set(valid.values()) == {"done"}, valid
    container = stack.services.account.container(stack.services.settings.state_container)
    assert len([blob async for blob in container.list_blobs(name_starts_with="slots/")]) <= 2


@pytest.mark.parametrize("seed", range(4))
def test_the_engine_makes_all_renditions_or_leaves_no_file(tmp_path: Path, seed: int) -> None:
    for number, (name, body) in enumerate(generated(400, 100 + seed)):
        for old in tmp_path.iterdir():
            old.unlink()
        (tmp_path / "in.bin").write_bytes(body)
        job = JOBS[number % len(JOBS)]
        assert violation(jobs.execute_job(job, tmp_path), job, tmp_path) == "", name


def test_the_same_seed_gives_the_same_files() -> None:
    assert list(generated(60, 5)) == list(generated(60, 5))
    assert list(generated(60, 5)) != list(generated(60, 6))
    body = seeds()["plain.png"]
    assert mutated(body, random.Random(3)) == mutated(body, random.Random(3)) != body


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("execution_timeout", "hang"),
        ("session_died", "crash"),
        ("engine_failed", "foreign exception"),
        ("damaged_image", ""),
    ],
)
def test_violations_are_classified_by_kind(kind: str, word: str) -> None:
    outcome = Outcome("a.png", kind, 0.1, outcomes._violation(kind))
    assert outcome.violation == word
    assert (word in Report([outcome]).table()) or not word
