"""The commands `pause` and `resume`, on services in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pipeline import __version__
from pipeline.cli import pauses
from pipeline.services import Services
from pipeline.testing import MemoryAccount
from tests.cli.runner import pipeline
from tests.memory import open_in_memory


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> MemoryAccount:
    """Let the commands work on one account in memory."""
    account = MemoryAccount()

    def run(work: Callable[[Services], Awaitable[Any]]) -> Any:
        async def in_memory() -> Any:
            async with open_in_memory(account=account) as memory:
                return await work(memory.services)

        return asyncio.run(in_memory())

    monkeypatch.setattr(pauses, "with_services", run)
    return account


def test_work_is_paused_by_kind_and_resumed() -> None:
    assert pipeline("pause", "uploads").stdout.startswith("uploads are paused since 20")
    assert [each["work"] for each in json.loads(pipeline("pause", "runs", "--json").stdout)["pauses"]] == [
        "uploads",
        "runs",
    ]
    assert pipeline("resume", "runs").stdout.startswith("uploads are paused since 20")
    assert pipeline("resume").stdout == "nothing is paused\n"


def test_all_work_is_paused_by_default() -> None:
    assert pipeline("pause").stdout.count("are paused since") == 3


def test_the_start_of_a_pause_stays() -> None:
    first = pipeline("pause", "runs", "--json").stdout
    assert pipeline("pause", "runs", "--json").stdout == first


def test_the_id_of_a_run_is_no_work() -> None:
    result = pipeline("resume", "20261201-120000-abc")
    assert (result.exit_code, "runs resume RUN" in " ".join(result.stderr.replace("│", " ").split())) == (2, True)
    assert "runs resume RUN" in pipeline("resume", "--help").stdout


def test_the_minimum_version_is_shown_and_raised_after_a_warning() -> None:
    assert pipeline("minimum-version").stdout.startswith("minimum version: none;")
    assert pipeline("minimum-version", __version__).exit_code == 1
    raised = pipeline("minimum-version", __version__, "--yes")
    assert f"ends the rollback to every version below {__version__}" in raised.stdout
    assert f"minimum version: {__version__};" in pipeline("minimum-version").stdout
