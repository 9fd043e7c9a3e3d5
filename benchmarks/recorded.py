"""A run on the embedded stack, everything killed halfway, and what became of it: `python -m benchmarks.recorded`.

    plan · start · kill -9 of everything when half is done · up again · resume · exact counts
    nothing has changed: the plan is empty · the recipe has changed: the plan has exactly those that are stale
    and once more without a kill, to see how long it takes beside what the plan said

Everything is hosts, workers, pool and sandboxes. Storage stays: what Azure has confirmed is written, while the emulator
writes its tables down every few seconds only.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.stage import photo
from devstack import azurite, subprocesses
from devstack.state import ROOT
from pipeline import runs
from pipeline.services import Services, load_recipes
from pipeline.settings import Settings
from pipeline.storage.provisioning import create_all

RECIPE = """
recipes:
  web:
    renditions:
      small: {format: webp, quality: 80, transforms: [{resize: {width: %d}}]}
      thumb: {format: jpeg, transforms: [{resize: {width: 64, height: 64, mode: cover}}]}
"""
RENDITIONS = 2
WEB = runs.Selection(recipes=("web",))
POLL = 0.5
Say = Callable[[str], None]


@dataclass(frozen=True)
class Scene:
    """Where it plays: settings of the app, and the log of what was seen."""

    environ: dict[str, str]
    folder: Path
    say: Say

    @asynccontextmanager
    async def services(self) -> AsyncIterator[Services]:
        """Services of this process, with the recipe file as it is now."""
        settings = Settings.load(self.environ)
        services = Services.open(settings, load_recipes(settings), self.environ)
        try:
            yield services
        finally:
            await services.close()

    def recipe(self, width: int) -> None:
        """Write the recipe file."""
        (self.folder / "recipes.yaml").write_text(RECIPE % width)

    @asynccontextmanager
    async def host(self) -> AsyncIterator[subprocesses.Subprocess]:
        """A function host with the recipe file as it is now; what the killed one had begun comes back soon."""
        argv = [sys.executable, "-m", "devstack", "host", "--poll", "1", "--hidden", "30"]
        async with subprocesses.running("host", argv, env=self.environ, cwd=ROOT) as process:
            await process.wait_for_line("function host ready", timeout=120)
            yield process


@asynccontextmanager
async def scene(sessions: int, say: Say) -> AsyncIterator[Scene]:
    """Storage that lasts; pool and hosts come and go."""
    with tempfile.TemporaryDirectory(prefix="recorded-") as place:
        folder = Path(place)
        async with azurite.running(data=folder / "storage") as storage:
            environ = {
                "AzureWebJobsStorage": storage.connection_string,
                "IMAGES": storage.connection_string,
                "PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1",
                "PIPELINE_POOL_MAX_SESSIONS": str(sessions),
                "PIPELINE_RECIPES": str(folder / "recipes.yaml"),
                "PIPELINE_CLAIM_TTL": "15",
                "PIPELINE_SLOT_LEASE_DURATION": "15",
            }
            told = Scene(environ, folder, say)
            told.recipe(200)
            async with told.services() as services:
                await create_all(services.account, services.settings)
            yield told


@asynccontextmanager
async def pool(stage: Scene, sessions: int, *faults: str) -> AsyncIterator[subprocesses.Subprocess]:
    """A session pool; the scene's settings name it from now on."""
    argv = [sys.executable, "-m", "devstack", "session-pool", "--max-sessions", str(sessions)]
    argv += [word for fault in faults for word in ("--fault", fault)]
    async with subprocesses.running("session pool", argv, cwd=ROOT) as process:
        stage.environ["PIPELINE_POOL_ENDPOINT"] = (
            await process.wait_for_line(r"session pool ready: (\S+)", timeout=120)
        )[1]
        yield process


async def killed_halfway(stage: Scene, images: int, sessions: int, *faults: str) -> dict[str, Any]:
    """Plan, start, kill everything when half is done, resume, and look at what is there.

    `faults` are those of the first pool, so that a small run is slow enough to be killed in its middle.
    """
    async with stage.services() as services:
        await _drop(services, images)
        plan = await services.planner.plan(WEB)
        stage.say(f"plan {plan.id}: {plan.jobs} jobs {plan.reasons}, {plan.estimate.minutes:.1f} minutes")
        run = await services.runs.start(plan_id=plan.id)
        stage.say(f"run {run.id} begins")
        async with AsyncExitStack() as parts:
            process = await parts.enter_async_context(pool(stage, sessions, *faults))
            host = await parts.enter_async_context(stage.host())
            before = await _until(
                services, run.id, lambda seen: seen.progress.done + seen.progress.failed >= images // 2
            )
            for victim in (host, process):
                os.kill(victim.pid, signal.SIGKILL)
        stage.say(f"killed with {before.progress}")
        async with pool(stage, sessions), stage.host():
            await services.runs.resume(run.id)
            seen = await _until(services, run.id, lambda seen: seen.over)
        stage.say(f"resumed, {seen.state}: {seen.progress}")
        return {"planned": plan.jobs, "run": seen, "before": before, **await _facts(services, run.id)}


async def planned(stage: Scene) -> runs.Plan:
    """What is due now."""
    async with stage.services() as services:
        started = time.monotonic()
        plan = await services.planner.plan(WEB)
        took = time.monotonic() - started
        stage.say(f"plan: {plan.jobs} jobs {plan.reasons}, about {plan.estimate.total:.2f}; planned in {took:.1f} s")
        return plan


async def undisturbed(stage: Scene, sessions: int) -> tuple[float, float]:
    """Seconds that the plan said, and seconds that the run took."""
    async with pool(stage, sessions), stage.host(), stage.services() as services:
        plan = await services.planner.plan(WEB)
        run = await services.runs.start(plan_id=plan.id)
        seen = await _until(services, run.id, lambda seen: seen.over)
        assert seen.finished is not None  # noqa: S101
        took = (seen.finished - seen.created).total_seconds()
        stage.say(
            f"run {run.id}, {seen.state}: {seen.progress}; {took:.0f} s, planned {plan.estimate.minutes * 60:.0f} s"
        )
        return plan.estimate.minutes * 60, took


async def _drop(services: Services, images: int) -> None:
    data, gate = photo(320, 240), asyncio.Semaphore(8)
    container = services.settings.input_container

    async def one(number: int) -> None:
        async with gate:
            # A byte behind the picture makes each a picture of its own.
            await services.sources.put(container, f"photos/{number:05}.jpg", data + bytes([number % 256]), "image/jpeg")

    await asyncio.gather(*map(one, range(images)))


async def _until(services: Services, run_id: str, holds: Callable[[runs.Run], bool]) -> runs.Run:
    while not holds(seen := await services.runs.get(run_id)):  # noqa: ASYNC110 - another process does the work
        await asyncio.sleep(POLL)
    return seen


async def _facts(services: Services, run_id: str) -> dict[str, Any]:
    """What is in the output container and in the ledger."""
    names, marker = [], ""
    while True:
        page, marker = await services.renditions.marked("", marker)
        names += [blob.path for blob in page]
        if not marker:
            break
    entries, token = await services.ledger.page(run=run_id, limit=1000)
    while token:
        more, token = await services.ledger.page(run=run_id, limit=1000, cursor=token)
        entries += more
    return {"outputs": names, "entries": entries}


async def main(images: int, sessions: int) -> bool:
    """The whole of it; whether every count was exact."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", flush=True)

    async with scene(sessions, say) as stage:
        say(f"{images} images, {sessions} sessions")
        told = await killed_halfway(stage, images, sessions)
        run, twice = told["run"], sum(entry.generation > 1 for entry in told["entries"])
        say(f"{len(set(told['outputs']))} renditions, {len(told['entries'])} rows, {twice} jobs begun more than once")
        exact = (run.state, run.progress.done, len(told["entries"])) == ("done", images, images)
        exact &= len(set(told["outputs"])) == RENDITIONS * images
        exact &= (await planned(stage)).jobs == 0
        stage.recipe(180)
        say("the recipe has changed")
        exact &= (await planned(stage)).reasons == {"recipe_changed": images}
        said, took = await undisturbed(stage, sessions)
    say(f"exact: {exact}; predicted / took: {said / took:.2f}")
    return exact


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recorded", description="A run that is killed halfway.")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--sessions", type=int, default=4)
    options = parser.parse_args()
    raise SystemExit(0 if asyncio.run(main(options.images, options.sessions)) else 1)
