"""Runs in virtual time: the real planner, scheduler, billing and caps, with jobs that only take time."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

from typing_extensions import override

from pipeline.errors import CostCapReached, PoolFull
from pipeline.jobs.isolation import TENANT_JOBS_AT_ONCE, session_label
from pipeline.jobs.retry_policy import Retry
from pipeline.pool.client import PoolClient
from pipeline.pool.session import Session
from pipeline.runs import Plan, Run, Selection
from pipeline.runs.fan_out import FanOut
from pipeline.runs.selection import JobFinder
from pipeline.runs.worker import ItemExecutor, ItemResult, RunWorker
from pipeline.services import Services
from pipeline.storage import Entry, Item, Ledger, Renditions, RunWork, Sources
from pipeline.testing.account import MemoryAccount
from pipeline.testing.named_sources import NamedSources
from pipeline.testing.services import memory_services, memory_settings

TRANSFER_SECONDS, START_SECONDS = 0.05, 2.0
# An instance takes this many messages at once, and looks for new ones so often.
MESSAGES_AT_ONCE, POLL_SECONDS = 16, 1.0
# A run that takes longer does not end.
MAX_SECONDS, LOOK_SECONDS = 100_000, 10


def _now() -> float:
    """Return the virtual time: `time.time` is another function later."""
    return time.time()


class IdlePool:
    """A session pool whose calls only take time."""

    async def upload(self, *_: object) -> None:
        """Take the time of a transfer."""
        await asyncio.sleep(TRANSFER_SECONDS)

    async def end(self, *_: object) -> None:
        """Take the time of a call."""
        await asyncio.sleep(TRANSFER_SECONDS)

    async def delete(self, *_: object) -> None:
        """Take the time of a call."""
        await asyncio.sleep(TRANSFER_SECONDS)

    async def close(self) -> None:
        """Do nothing."""


class NewSources(NamedSources):
    """Sources without ledger rows."""

    async def rows(self, *_: object) -> dict[str, Entry]:
        """Return no rows, as `Ledger.rows` may."""
        return {}


@dataclass(frozen=True)
class TimedItems(ItemExecutor):
    """Jobs that take `seconds` each, one at a time in each session, in sessions of the real scheduler."""

    services: Services
    seconds: float
    executing: dict[Session, asyncio.Lock] = field(default_factory=dict)

    @override
    async def execute(self, work: RunWork, item: Item) -> ItemResult:
        """Hold a session for the time of the job."""
        recipe = self.recipes.get(item.recipe)
        container = self.settings.input_container
        label = session_label(recipe, container, item.name, {}, container)
        packed = TENANT_JOBS_AT_ONCE if recipe.isolation == "tenant" else 1
        scheduler = self.services.scheduler
        try:
            async with scheduler.acquire_slot(label, priority="run", fairness_key=work.run, packed=packed) as session:
                if not session.engine_installed:
                    await asyncio.sleep(START_SECONDS)
                await session.upload("in", 1000, _no_chunks)
                async with self.executing.setdefault(session, asyncio.Lock()):
                    await asyncio.sleep(self.seconds * random.uniform(0.5, 1.5))  # noqa: S311 - simulated durations
        except CostCapReached as error:
            return ItemResult(cost=error.message)
        except PoolFull:
            return ItemResult(retry=Retry(work, 10))
        return ItemResult("done")


async def _received(queue: Any, most: int) -> list[Any]:
    """Receive at most so many messages."""
    messages: list[Any] = []
    if most > 0:
        async for message in queue.receive_messages(messages_per_page=most, visibility_timeout=3600):
            messages.append(message)
            if len(messages) == most:
                break
    return messages


async def _no_chunks() -> AsyncIterator[bytes]:
    yield b""


@dataclass
class CostlyRun:
    """One run of sources with recipes, by several processes.

    Attributes:
        recipes: Recipe file.
        names: Names of the sources.
        seconds: Mean duration of a job.
        processes: Number of processes.
        settings: Settings of the processes.
    """

    recipes: str
    names: Sequence[str]
    seconds: float = 0.4
    processes: int = 2
    settings: dict[str, Any] = field(default_factory=dict)
    account: MemoryAccount = field(default_factory=lambda: MemoryAccount(_now))

    @cached_property
    def _library(self) -> NewSources:
        return NewSources(sorted(self.names))

    def _finder(self, services: Services) -> JobFinder:
        ledger, sources = cast("Ledger", self._library), cast("Sources", self._library)
        return JobFinder("input", services.recipes, ledger, sources, cast("Renditions", None))

    async def execute(self) -> tuple[Plan, Run, int]:
        """Plan and start the run, and execute it to its end. Returns plan, run and the hours that sessions started."""
        async with AsyncExitStack() as stack:
            settings = memory_settings(
                **{"run_max_jobs": 10**7, "run_max_cost": 10**6, "month_max_cost": 10**6, **self.settings}
            )
            opened = [
                await stack.enter_async_context(
                    memory_services(settings, self.recipes, account=self.account, client=cast("PoolClient", IdlePool()))
                )
                for _ in range(self.processes)
            ]
            services = opened[0]
            for each in opened:
                each.__dict__["job_finder"] = self._finder(each)
            plan = await services.planner.plan(Selection())
            run = await services.runs.start(plan_id=plan.id)
            workers = [asyncio.create_task(self._work(each)) for each in opened]
            try:
                async with asyncio.timeout(MAX_SECONDS):
                    while not (seen := await services.runs.get(run.id)).over:
                        await asyncio.sleep(LOOK_SECONDS)
                        for worker in workers:
                            if worker.done():
                                worker.result()
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
            for each in opened:
                await each.scheduler.close()
            summaries = await services.slot_documents.summaries()
            hours = sum(int(each.fields["hours"].split()[3]) for each in summaries if "hours" in each.fields)
            return plan, seen, hours

    async def _work(self, services: Services) -> None:
        """Handle messages of the run queue, as the host does."""
        worker = self._worker(services)
        queue, tasks = services.account.queue(services.settings.run_queue), set[asyncio.Task[None]]()
        while True:
            messages = await _received(queue, MESSAGES_AT_ONCE - len(tasks))
            for message in messages:
                await queue.delete_message(message)
                task = asyncio.create_task(worker.handle_message(message.content))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await asyncio.sleep(POLL_SECONDS)

    def _worker(self, services: Services) -> RunWorker:
        fields = {name: getattr(services.run_items, name) for name in ItemExecutor.__dataclass_fields__}
        items = TimedItems(**fields, services=services, seconds=self.seconds)
        finder = services.job_finder
        fan_out = FanOut(services.settings, services.run_store, services.run_queue, finder, services.runs)
        return replace(services.run_worker, items=items, fan_out=fan_out)
