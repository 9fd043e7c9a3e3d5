"""Worker for bulk runs: fill a ledger, plan a run, and process a run while counting its storage calls."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any

from typing_extensions import override

from benchmarks.meter import Measurement, Meter, execute_concurrently
from benchmarks.testbed import source_name
from pipeline import runs
from pipeline.pool import status
from pipeline.runs import worker
from pipeline.services import Services, ServicesProvider
from pipeline.storage import metrics
from pipeline.storage.account import create_all
from pipeline.storage.entry import Entry, Version
from pipeline.storage.keys import JobKey
from pipeline.storage.list_row import list_row

# A transaction holds 100 rows: 25 jobs with one row each and their list rows.
CHUNK = 25


@asynccontextmanager
async def open_services() -> AsyncIterator[Services]:
    """Open the services of the environment, with all containers, queues and tables created."""
    services = ServicesProvider(os.environ).services()
    await create_all(services.account, services.settings)
    try:
        yield services
    finally:
        await services.close()


async def fill(recipe: str, numbers: range, at_once: int, _: float) -> Measurement:
    """Write a ledger row for each source that says `done` for its current version."""
    async with open_services() as services:
        container = services.settings.input_container
        etags: dict[str, str] = {}
        marker = ""
        while True:
            page, marker = await services.sources.page(container, f"{recipe}/", marker)
            etags |= {one.name: one.etag for one in page}
            if not marker:
                break
        chosen, table = services.recipes.get(recipe), services.account.table(services.settings.ledger_table)
        shards = await services.ledger.shards.current()

        async def write(at: int) -> None:
            rows: dict[str, list[dict[str, Any]]] = {}
            for number in range(at, min(at + CHUNK, numbers.stop)):
                source = source_name(recipe, number)
                version, since = Version(etags[source], chosen.hash), datetime.now(UTC) - timedelta(seconds=number)
                key = JobKey.of(recipe, container, source)
                entry = Entry(key, container, source, "done", version, generation=1, attempts=1, since=since)
                entry = replace(entry, listed=entry.list_key, renditions=[_rendition(source)])
                partition = key.partition(shards.number)
                rows.setdefault(partition, []).extend([entry.to_row(partition), list_row(entry, partition)])
            for changed in rows.values():
                await table.submit_transaction([("upsert", row) for row in changed])

        await execute_concurrently(range(numbers.start, numbers.stop, CHUNK), at_once, write)
    return {"jobs": len(numbers), "seconds": 0}


def _rendition(source: str) -> dict[str, str | int]:
    return {"name": "crop", "path": f"light/{source}/crop.jpg", "size": 10_000, "sha256": "0" * 64}


async def plan(recipe: str, numbers: range, _: int, __: float) -> Measurement:
    """Plan a run over all sources. `grown` is the memory that planning adds to the process."""
    async with open_services() as services:
        selection = runs.Selection(recipes=(recipe,), prefix=f"{recipe}/", reasons=("done",))
        await services.ledger.get(JobKey("warm", "up"))
        meter = Meter(memory=True)
        made = await services.planner.plan(selection)
        told = meter.result(jobs=len(numbers))
    if (made.jobs, made.sources) != (len(numbers), len(numbers)):
        raise SystemExit(f"the plan has {made.jobs} jobs of {made.sources} sources, not {len(numbers)}")
    return told


async def run(recipe: str, numbers: range, at_once: int, _: float) -> Measurement:
    """Process a run over all sources except 10 that warm up, and count the calls for finding and for executing jobs.

    Calls that depend on time stay out of the count: metrics, slot status, and the check for a cancelled run.
    """
    metrics.WRITE_INTERVAL_SECONDS = worker.RUN_STATE_CACHE_SECONDS = 3600
    status.PUBLISH_INTERVAL_SECONDS = inf
    async with open_services() as services:
        warm = runs.Selection(recipes=(recipe,), prefix=f"{recipe}/0000")
        await _drain_queue(services, await services.runs.start(warm, expected_count=10), at_once, Calls())
        finding, working = Calls(), Calls()
        selection = runs.Selection(recipes=(recipe,), prefix=f"{recipe}/")
        begun = await services.runs.start(selection, expected_count=len(numbers) - 10)
        with finding:
            await services.run_worker.handle_message((await _messages(services))[0])
        await services.run_store.recent("run", runs.model.key_of(begun.id), 3600)
        meter = Meter()
        count = await _drain_queue(services, begun, at_once, working)
        seen = await services.runs.get(begun.id)
        return meter.result(
            jobs=seen.progress.done,
            batches=count,
            finding=dict(finding.counts),
            working=dict(working.counts),
            renditions=len(services.recipes.get(recipe).renditions),
        )


async def _drain_queue(services: Services, run: runs.Run, at_once: int, calls: Calls) -> int:
    """Handle the messages of the run queue until it is empty. Return their number. Receiving is not counted."""
    count, waiting = 0, await _messages(services)
    while waiting:
        count += len(waiting)
        gate = asyncio.Semaphore(at_once)

        async def one(body: bytes, gate: asyncio.Semaphore = gate) -> None:
            async with gate:
                await services.run_worker.handle_message(body)

        with calls:
            await asyncio.gather(*map(one, waiting))
        waiting = await _messages(services)
    if (await services.runs.get(run.id)).state != "done":
        raise SystemExit(f"run {run.id} has not finished")
    return count


async def _messages(services: Services) -> list[bytes]:
    queue, bodies = services.account.queue(services.settings.run_queue), []
    async for message in queue.receive_messages(messages_per_page=32):
        bodies.append(message.content)
        await queue.delete_message(message)
    return bodies


class Calls(logging.Handler):
    """Counter of the storage SDK's requests per service in a `with` block. Slots and leases count apart."""

    def __init__(self) -> None:
        """Count nothing yet."""
        super().__init__()
        self.counts: Counter[str] = Counter()
        self._log = logging.getLogger("azure.core.pipeline.policies.http_logging_policy")

    def __enter__(self) -> None:
        """Start counting."""
        self._before = self._log.level
        self._log.setLevel(logging.INFO)
        self._log.addHandler(self)

    def __exit__(self, *_: object) -> None:
        """Stop counting."""
        self._log.removeHandler(self)
        self._log.setLevel(self._before)

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """Count a logged request. Log records of responses name no URL and are skipped."""
        text = record.getMessage()
        if not text.startswith("Request URL"):
            return
        service = "tables" if "azsdk-python-data-tables" in text else "queues" if "storage-queue" in text else "blobs"
        if f"/{os.environ['PIPELINE_STATE_CONTAINER']}" in text:
            service = "leases" if "x-ms-lease-action" in text else "slots"
        self.counts[service] += 1
