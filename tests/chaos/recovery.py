"""Measure recoveries from faults, each without other faults: `python -m tests.chaos.recovery`.

The time is scaled (see `scaled`): the requeue delay, pauses and timers are a thirtieth of the defaults; claims and
leases have 15 s instead of 60 s. No nightly run helps, except after a deployment.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import httpx

from tests.chaos import platform, requests
from tests.chaos.checker import Checker
from tests.chaos.pictures import BAD, pictures
from tests.chaos.scaled import SCALE
from tests.chaos.scene import NAMES, Pace, Scene, opened
from tests.chaos.sources import EVENTS, Sources

PACE = Pace(requeue_delay=10 / SCALE, schedule="0 0 3 * * *", schedule_max_jobs=1000)
IMAGES = 20
# Every recovery must end within this time, in seconds: claims and leases, two timers and a pause, and processing.
LIMIT = 90.0


@dataclass
class Stage:
    """A running stack without faults."""

    scene: Scene
    sources: Sources
    checker: Checker

    async def drop(self, count: int = IMAGES, *, event: bool = True) -> list[str]:
        """Upload images; return their names."""
        names = []
        for _ in range(count):
            names.append(self.sources.new_name())
            await self.sources.drop(names[-1], self.sources.good_content(), event=event)
        return names

    async def until_done(self, start: float) -> float:
        """Wait for the end of all jobs; return the seconds since `start`."""
        async with asyncio.timeout(600):
            while not await asyncio.to_thread(self.checker.settled):
                await asyncio.sleep(0.3)
        return time.monotonic() - start

    async def until_started(self) -> None:
        """Wait until a job has a row."""
        rows = len(self.checker.rows())
        while len(self.checker.rows()) == rows:
            await asyncio.sleep(0.1)


Round = Callable[[Stage], Awaitable[float]]


async def killed(stage: Stage) -> float:
    """Kill the only worker and start another one."""
    other = stage.scene.hosts[1]
    await other.stop()
    await stage.drop()
    await stage.until_started()
    start = time.monotonic()
    await stage.scene.hosts[0].kill()
    await stage.scene.hosts[0].restart()
    took = await stage.until_done(start)
    await other.restart()
    return took


def after_outage(kind: str) -> Round:
    """Return the measurement of an outage, from its end."""

    async def measure(stage: Stage) -> float:
        await platform.SLOW[kind](stage.scene, stage.sources)
        return await stage.until_done(time.monotonic())

    return measure


def without_messages(queue: str, *, emptied: bool = False, run: bool = False) -> Round:
    """Return the measurement of the loss of a queue while its jobs wait for the pool.

    The queue is deleted, or `emptied`. The jobs are those of uploads, or of a `run`.
    """

    async def measure(stage: Stage) -> float:
        trouble = platform.OUTAGES["pool outage: 503"]
        async with trouble(stage.scene):
            await stage.drop(event=not run)
            if run:
                await start_run(stage)
            await asyncio.sleep(stage.scene.pace.outage / 2)
            start = time.monotonic()
            await (stage.sources.empty_queue(queue) if emptied else stage.sources.delete_queues(queue))
        return await stage.until_done(start)

    return measure


async def start_run(stage: Stage) -> None:
    """Start a run of the sources whose events were lost."""
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        body = {"selection": {"reasons": ["new"]}, "expected_count": IMAGES}
        response = await client.post(f"{stage.scene.hosts[0].address}/api/runs", json=body)
        response.raise_for_status()


async def events_deleted(stage: Stage) -> float:
    """Delete the queue of the blob trigger with its messages."""
    await stage.drop(event=False)
    start = time.monotonic()
    await stage.sources.delete_queues(EVENTS)
    return await stage.until_done(start)


async def dead_lettered(stage: Stage) -> float:
    """Dead-letter the events of uploads."""
    names = await stage.drop(event=False)
    start = time.monotonic()
    for name in names:
        await stage.sources.dead_letter(name)
    return await stage.until_done(start)


async def given_up(stage: Stage) -> float:
    """Let the blob trigger give up uploads."""
    names = await stage.drop(event=False)
    start = time.monotonic()
    for name in names:
        await stage.sources.event(name, stage.sources.versions[name][-1], "webjobs-blobtrigger-poison")
    return await stage.until_done(start)


async def request(stage: Stage) -> float:
    """Kill an instance while a request waits; do not start it again before the job has ended."""
    scene = stage.scene
    await scene.arm(f"latency:seconds=3,next=2,{platform.RUN}")
    task = asyncio.create_task(requests.send(stage.sources, scene.hosts[0].address))
    while not stage.checker.rows(requests.RECIPE):
        await asyncio.sleep(0.1)
    start = time.monotonic()
    await scene.hosts[0].kill()
    await task
    took = await stage.until_done(start)
    await scene.hosts[0].restart()
    return took


async def deployed(stage: Stage) -> float:
    """Deploy another recipe version to one host after the other while jobs run; count until all are done in it."""
    await stage.drop(5 * IMAGES)
    await stage.until_started()
    start = time.monotonic()
    for _ in range(2):
        await platform.deploy(stage.scene, stage.sources)
    return await stage.until_done(start)


ROUNDS: dict[str, Round] = {
    "kill -9 of the only worker": killed,
    **{kind: after_outage(kind) for kind in platform.OUTAGES},
    "queue of jobs deleted": without_messages(NAMES["PIPELINE_JOB_QUEUE"]),
    "queue of jobs emptied": without_messages(NAMES["PIPELINE_JOB_QUEUE"], emptied=True),
    "queue of runs deleted": without_messages("runs", run=True),
    "queue of runs emptied": without_messages("runs", run=True, emptied=True),
    "queue of the blob trigger deleted": events_deleted,
    "events dead-lettered": dead_lettered,
    "uploads given up by the trigger": given_up,
    "instance dies during a request": request,
}
DEPLOYMENTS: dict[str, Round] = {"deployment while 100 jobs run": deployed, "rollback while 100 jobs run": deployed}


@asynccontextmanager
async def staged(folder: Path, pace: Pace) -> AsyncIterator[Stage]:
    """Run a stack within the block, with one image processed."""
    folder.mkdir()
    async with opened(folder, pace, skew=0) as scene:
        sources = Sources(scene, pictures(), Random(1))
        stage = Stage(scene, sources, Checker(scene.account, sources, BAD, {}, scene.deployments))
        try:
            await stage.drop(1)
            await stage.until_done(0)
            # The timer for lost messages has to see each queue once.
            await asyncio.sleep(12)
            yield stage
        finally:
            await sources.close()


async def recovery(folder: Path, wanted: str) -> AsyncIterator[tuple[str, float]]:
    """Yield each recovery whose name contains a text, with its time in seconds."""
    nightly = replace(PACE, schedule="*/10 * * * * *")
    for number, (pace, every) in enumerate(((PACE, ROUNDS), (nightly, DEPLOYMENTS))):
        rounds = {name: measure for name, measure in every.items() if wanted in name}
        if not rounds:
            continue
        async with staged(folder / str(number), pace) as stage:
            for name, measure in rounds.items():
                yield name, await measure(stage)
            failed = [name for name, row in stage.checker.rows().items() if row["state"] != "done"]
            if failed:
                raise AssertionError(f"not done: {failed}")


async def measure_all(folder: Path, wanted: str) -> float:
    """Print each recovery whose name contains a text; return the longest one in seconds."""
    longest = 0.0
    async for name, took in recovery(folder, wanted):
        print(f"{name:40} {took:6.1f} s", flush=True)
        longest = max(longest, took)
    return longest


def main() -> int:
    """Print the figures; exit with status 1 if one exceeds the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=Path, help="new folder for the logs")
    parser.add_argument("--only", default="", help="measure only faults whose name contains this text")
    options = parser.parse_args()
    folder = options.logs or Path(tempfile.mkdtemp(prefix="recovery-"))
    folder.mkdir(exist_ok=True)
    return int(asyncio.run(measure_all(folder, options.only)) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
