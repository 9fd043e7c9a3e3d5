"""Nights of scheduled runs, one after another, without waiting."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from pipeline.errors import StorageUnavailable
from pipeline.runs import Run
from pipeline.runs.fan_out import FanOut
from pipeline.runs.scheduled_start import SCHEDULE_KEY
from pipeline.services import Services
from pipeline.storage import Outcome, RunWork
from pipeline.testing.library import SimulatedLibrary


async def pass_day(services: Services) -> None:
    """Let the start of the last scheduled run be a day ago."""
    document = await services.run_store.get("schedule", SCHEDULE_KEY)
    if document:
        content = {**document.content, "at": document.content["at"] - 86_400}
        await services.run_store.replace("schedule", SCHEDULE_KEY, document, content)


@dataclass(frozen=True)
class SimulatedNights:
    """Scheduled runs over a simulated library: real runs, batches and messages, whose jobs are done at once."""

    services: Services
    library: SimulatedLibrary

    async def night(self, fault: Callable[[], AbstractContextManager[None]] = nullcontext) -> Run:
        """Start the scheduled run of the next day, finish its jobs, and return it.

        `fault` may inject a fault into a delivery. The host delivers a message that fails again.

        Raises:
            AssertionError: The run of the night before is still working.
        """
        services = self.services
        await pass_day(services)
        run = await services.schedule.start()
        if run is None:
            raise AssertionError("no scheduled run is started")
        fan_out = FanOut(services.settings, services.run_store, services.run_queue, self.library.finder, services.runs)
        queue = services.account.queue(services.settings.run_queue)
        while messages := [message async for message in queue.receive_messages(messages_per_page=32)]:
            for message in messages:
                await queue.delete_message(message)
                work = RunWork.parse(message.content)
                if work.batch:
                    await self._finish(work)
                    continue
                try:
                    with fault():
                        await fan_out.find_jobs(work.run)
                except StorageUnavailable:
                    await services.run_queue.requeue(message.content, 0)
        return await services.runs.get(run.id)

    async def _finish(self, work: RunWork) -> None:
        batch = await self.services.run_store.batch(work.run, work.batch)
        if batch:
            for item in batch.items:
                self.library.finish(item.name)
            done: Outcome = "done"
            await self.services.run_store.settle(batch, dict.fromkeys(range(len(batch.items)), done))
