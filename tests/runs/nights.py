"""Nights of scheduled runs for tests: let a day pass, start the scheduled run, and process its messages."""

from __future__ import annotations

from pipeline.runs import Run
from pipeline.runs.schedule import ROUNDS_KEY
from pipeline.services import Services
from pipeline.testing.nights import pass_day
from tests.stack import Stack


async def night(stack: Stack) -> Run:
    """Start the scheduled run of the next day, and process its messages."""
    await pass_day(stack.services)
    run = await stack.services.schedule.start()
    assert run is not None
    await stack.process_messages()
    return await stack.services.runs.get(run.id)


async def round_nights(services: Services) -> dict[str, int]:
    """Return the nights of each round so far, as stored."""
    document = await services.run_store.get("schedule", ROUNDS_KEY)
    assert document is not None
    return {group: each.get("nights", 0) for group, each in document.content["rounds"].items()}
