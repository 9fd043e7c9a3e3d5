"""Kill a bulk run on the local stack halfway, resume it, and compare its counts: `python -m benchmarks.killed_run`.

    plan · start · kill -9 of hosts and pool when half is done · restart · resume · exact counts
    nothing has changed: the plan is empty · the recipe has changed: the plan has exactly the stale jobs
    a second run without a kill: its duration beside the planned duration

Hosts, workers, pool and sandboxes are killed. Storage stays up: Azure persists every confirmed write, while the storage
emulator persists its tables every few seconds.

With `--layout azure`, each group of functions has its own host and the messages of the run have three, as `python -m
devstack up --layout azure --scale run_waiting=3` starts them.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.testbed import photo
from devstack import azurite, subprocesses
from devstack.layout import Layout
from devstack.stack import StackOptions, running_hosts
from devstack.state import ROOT
from pipeline import runs
from pipeline.recipes import load_recipes
from pipeline.services import Services
from pipeline.settings import Settings
from pipeline.storage.account import create_all
from pipeline.storage.keys import key_range

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
ONE_HOST = StackOptions()
Say = Callable[[str], None]


@dataclass(frozen=True)
class Scene:
    """Settings of the app, its folder, and the function that logs progress."""

    environ: dict[str, str]
    folder: Path
    say: Say
    hosts: StackOptions = ONE_HOST

    @asynccontextmanager
    async def services(self) -> AsyncIterator[Services]:
        """Open services of this process with the current recipe file."""
        settings = Settings.load(self.environ)
        services = Services.open(settings, load_recipes(settings), self.environ)
        try:
            yield services
        finally:
            await services.close()

    def recipe(self, width: int) -> None:
        """Write the recipe file with a rendition of this width in pixels."""
        (self.folder / "recipes.yaml").write_text(RECIPE % width)

    def running_hosts(self) -> AbstractAsyncContextManager[Mapping[str, subprocesses.Subprocess]]:
        """Run function hosts with the current recipe file. Messages of killed hosts reappear after 30 s."""
        return running_hosts(self.hosts, self.environ, lambda *_: None)


@asynccontextmanager
async def scene(sessions: int, say: Say, hosts: StackOptions = ONE_HOST) -> AsyncIterator[Scene]:
    """Run storage that outlives pools and hosts."""
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
            told = Scene(environ, folder, say, hosts)
            told.recipe(200)
            async with told.services() as services:
                await create_all(services.account, services.settings)
            yield told


@asynccontextmanager
async def pool(stage: Scene, sessions: int, *faults: str) -> AsyncIterator[subprocesses.Subprocess]:
    """Run a session pool and write its endpoint into the scene's settings."""
    argv = [sys.executable, "-m", "devstack", "session-pool", "--max-sessions", str(sessions)]
    argv += [word for fault in faults for word in ("--fault", fault)]
    async with subprocesses.running("session pool", argv, cwd=ROOT) as process:
        stage.environ["PIPELINE_POOL_ENDPOINT"] = (
            await process.wait_for_line(r"session pool ready: (\S+)", timeout=120)
        )[1]
        yield process


async def kill_halfway(stage: Scene, images: int, sessions: int, *faults: str) -> dict[str, Any]:
    """Plan and start a run, kill hosts and pool when half is done, resume it, and return the counts.

    `faults` slow the first pool down, so that a small run can be killed halfway.
    """
    async with stage.services() as services:
        await upload_photos(services, images)
        plan = await services.planner.plan(WEB)
        stage.say(f"plan {plan.id}: {plan.jobs} jobs {plan.reasons}, {plan.estimate.minutes:.1f} minutes")
        run = await services.runs.start(plan_id=plan.id)
        stage.say(f"run {run.id} started")
        async with AsyncExitStack() as parts:
            process = await parts.enter_async_context(pool(stage, sessions, *faults))
            hosts = await parts.enter_async_context(stage.running_hosts())
            before = await wait_for_run(
                services, run.id, lambda seen: seen.progress.done + seen.progress.failed >= images // 2
            )
            for victim in (*hosts.values(), process):
                victim.kill()
        rows = services.ledger.scan("web", *key_range(services.settings.input_container, ""))
        running = sum([entry.state == "running" async for entry in rows])
        stage.say(f"killed {len(hosts)} hosts and the pool with {before.progress}; {running} jobs were running")
        async with pool(stage, sessions), stage.running_hosts():
            await services.runs.resume(run.id)
            seen = await wait_for_run(services, run.id, lambda seen: seen.over)
        stage.say(f"resumed, {seen.state}: {seen.progress}")
        return {"planned": plan.jobs, "run": seen, "before": before, **await _stored_results(services, run.id)}


async def plan_again(stage: Scene) -> runs.Plan:
    """Plan a run of the jobs that are due now."""
    async with stage.services() as services:
        started = time.monotonic()
        plan = await services.planner.plan(WEB)
        took = time.monotonic() - started
        stage.say(f"plan: {plan.jobs} jobs {plan.reasons}, about {plan.estimate.total:.2f}; planned in {took:.1f} s")
        return plan


async def run_undisturbed(stage: Scene, sessions: int) -> tuple[float, float]:
    """Execute a run. Return its planned and its measured duration in seconds."""
    async with pool(stage, sessions), stage.running_hosts(), stage.services() as services:
        plan = await services.planner.plan(WEB)
        run = await services.runs.start(plan_id=plan.id)
        seen = await wait_for_run(services, run.id, lambda seen: seen.over)
        assert seen.finished is not None  # noqa: S101
        took = (seen.finished - seen.created).total_seconds()
        stage.say(
            f"run {run.id}, {seen.state}: {seen.progress}; {took:.0f} s, planned {plan.estimate.minutes * 60:.0f} s"
        )
        return plan.estimate.minutes * 60, took


async def upload_photos(services: Services, images: int) -> None:
    """Upload that many small sources into the input container."""
    data, gate = photo(320, 240), asyncio.Semaphore(8)
    container = services.settings.input_container

    async def one(number: int) -> None:
        async with gate:
            # A trailing byte gives each image its own content.
            await services.sources.put(container, f"photos/{number:05}.jpg", data + bytes([number % 256]), "image/jpeg")

    await asyncio.gather(*map(one, range(images)))


async def wait_for_run(services: Services, run_id: str, holds: Callable[[runs.Run], bool]) -> runs.Run:
    """Wait until the condition holds for a run, and return the run."""
    while not holds(seen := await services.runs.get(run_id)):  # noqa: ASYNC110 - another process does the work
        await asyncio.sleep(POLL)
    return seen


async def _stored_results(services: Services, run_id: str) -> dict[str, Any]:
    """Return the renditions in the output container and the ledger rows of a run."""
    names, marker = [], ""
    while True:
        page, marker = await services.renditions.marked("", marker)
        names += [blob.path for blob in page]
        if not marker:
            break
    place: dict[str, Any] = {"container": services.settings.input_container, "run": run_id, "limit": 1000}
    entries, token = await services.ledger.page(**place)
    while token:
        more, token = await services.ledger.page(**place, cursor=token)
        entries += more
    return {"outputs": names, "entries": entries}


async def main(images: int, sessions: int, layout: Layout) -> bool:
    """Execute the whole scenario. Return whether all counts are exact."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", flush=True)

    scale = {"run_waiting": 3} if layout is Layout.AZURE else {}
    async with scene(sessions, say, StackOptions(layout=layout, scale=scale)) as stage:
        say(f"{images} images, {sessions} sessions, layout {layout}")
        told = await kill_halfway(stage, images, sessions)
        run = told["run"]
        say(f"{len(set(told['outputs']))} renditions, {len(told['entries'])} rows")
        exact = (run.state, run.progress.done, len(told["entries"])) == ("done", images, images)
        exact &= len(set(told["outputs"])) == RENDITIONS * images
        exact &= (await plan_again(stage)).jobs == 0
        stage.recipe(180)
        say("the recipe has changed")
        exact &= (await plan_again(stage)).reasons == {"recipe_changed": images}
        said, took = await run_undisturbed(stage, sessions)
    say(f"exact: {exact}; predicted / took: {said / took:.2f}")
    return exact


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.killed_run", description="Kill a bulk run halfway and resume it."
    )
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--sessions", type=int, default=4)
    parser.add_argument("--layout", type=Layout, choices=list(Layout), default=Layout.ALL)
    options = parser.parse_args()
    raise SystemExit(0 if asyncio.run(main(options.images, options.sessions, options.layout)) else 1)
