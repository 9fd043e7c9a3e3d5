"""Replace the app by another deployment while it works, and roll it back: `python -m benchmarks.deployment`.

    deployment 1, recipe version A · upload · deployment 2, version B · deployment 3, version A again · plan · run

Each deployment is a package in a folder of its own, with its own recipe file and number, and runs as a function host.
The new host starts, both hosts run for some seconds, and the old one is stopped by SIGTERM. While both run, messages of
jobs that the newer deployment has done arrive again, some after their source has changed. Both hosts get their share.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TextIO

import httpx

from benchmarks.killed_run import Say, Scene, pool, scene, upload_photos, wait_for_run
from devstack import subprocesses
from devstack.state import ROOT
from functions_host.settings import HOST_ID_VARIABLE
from pipeline.recipes import load_recipes
from pipeline.services import Services
from pipeline.settings import Settings
from pipeline.storage.deployment import NUMBER_FILE, read_number
from pipeline.storage.entry import Entry
from pipeline.storage.keys import JobKey, key_range, source_of
from pipeline.storage.queue import Message

PACKAGE = ("function_app.py", "host.json", "pipeline", "scripts/package")
RECIPE = """
recipes:
  web:
    match: {include: ["photos/**"]}
    renditions:
      small: {format: webp, quality: 80, transforms: [{resize: {width: %d}}]}
      thumb: {format: jpeg, transforms: [{resize: {width: 64, height: 64, mode: cover}}]}
"""
RENDITIONS = 2
WIDTHS = {"A": 200, "B": 180}
EVENT = re.compile(r"event=(\S+) (?:\[(\S+)\])?")
ATTEMPT_EVENTS = ("job.interrupted", "job.requeued", "job.rescheduled", "job.crashed", "job.failed")
NEWER_EVENTS = ("job.skipped", "job.claimed_elsewhere", "message.left_to_newer")
GRACE_SECONDS = 10.0
PATIENCE_SECONDS = 600.0
POLL = 0.25


@dataclass(frozen=True)
class Deployment:
    """A package of the app: its folder, its number, and the letter and hash of its recipe version."""

    folder: Path
    number: int
    version: str
    recipe_hash: str

    @classmethod
    def make(cls, folder: Path, version: str, environ: dict[str, str]) -> Deployment:
        """Package the checkout with a recipe version for an app with these settings, as `scripts/package` does."""
        (folder / "scripts").mkdir(parents=True)
        for part in PACKAGE:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
            copy(ROOT / part, folder / part)
        recipes = folder / "recipes.yaml"
        recipes.write_text(RECIPE % WIDTHS[version])
        subprocess.run([folder / "scripts" / "package"], check=True)
        recipe = load_recipes(Settings.load({**environ, "PIPELINE_RECIPES": str(recipes)})).get("web")
        return cls(folder, read_number(folder / "pipeline" / NUMBER_FILE.name), version, recipe.hash)


@dataclass(frozen=True)
class Observed:
    """Ends of jobs and other events that the hosts have logged, by job and deployment, in order of arrival."""

    done: dict[str, list[Deployment]] = field(default_factory=lambda: defaultdict(list))
    events: Counter[tuple[Deployment, str]] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    """How often the source of a job that was done was overwritten."""
    log: TextIO | None = None

    def read(self, deployment: Deployment, line: str) -> None:
        """Read a log line of a host."""
        if self.log:
            print(deployment.number, line, file=self.log)
        if found := EVENT.search(line):
            event, job = found.groups()
            self.events[deployment, event] += 1
            if event == "job.done":
                self.done[job].append(deployment)

    def done_last_by(self, deployment: Deployment) -> list[str]:
        """Return the jobs that no other deployment has done since."""
        return [job for job, ends in self.done.items() if ends[-1] == deployment]

    def repeated(self) -> tuple[int, int]:
        """Return how often jobs were done again without a change of their source, in the same and in another version.

        A late event makes a newer deployment do a job again in its own recipe version.
        """
        same = total = 0
        for job, ends in self.done.items():
            needless = len(ends) - 1 - self.changed[job]
            alike = sum(before.recipe_hash == after.recipe_hash for before, after in pairwise(ends)) - self.changed[job]
            same, total = same + max(0, alike), total + max(0, needless)
        return same, total - same

    def older_after_newer(self) -> int:
        """Return how often an older deployment did a job after a newer one had done it."""
        pairs = (pair for ends in self.done.values() for pair in pairwise(ends))
        return sum(before.number > after.number for before, after in pairs)

    def counts(self, names: tuple[str, ...]) -> dict[str, int]:
        """Return how often the hosts have logged each of these events."""
        return {name: sum(n for (_, event), n in self.events.items() if event == name) for name in names}


@dataclass(frozen=True)
class Rollout:
    """Deployments on a stack: it starts and replaces their hosts, and observes their jobs."""

    stage: Scene
    services: Services
    parts: AsyncExitStack
    say: Say
    observed: Observed
    images: int

    async def start(self, deployment: Deployment) -> tuple[subprocesses.Subprocess, str]:
        """Start the host of a deployment. Return the process and its URL."""
        argv = [sys.executable, "-m", "devstack", "host", "--app", str(deployment.folder)]
        argv += ["--grace", f"{GRACE_SECONDS:g}"]
        # The recipe file is part of the package. As on Azure, the app keeps its host id.
        environ = {**self.stage.environ, "PIPELINE_RECIPES": "recipes.yaml", HOST_ID_VARIABLE: "deployments"}
        lines = partial(self.observed.read, deployment)
        program = subprocesses.running(
            f"host {deployment.number}", argv, env=environ, cwd=ROOT, output=lines, grace=GRACE_SECONDS + 5
        )
        process = await self.parts.enter_async_context(program)
        url = (await process.wait_for_line(r"function host ready: (\S+)", timeout=120))[1]
        self.say(f"deployment {deployment.number}, recipe version {deployment.version}: started")
        return process, url

    async def stop(self, deployment: Deployment, process: subprocesses.Subprocess) -> None:
        """Stop the host of a deployment gracefully."""
        began = time.monotonic()
        await process.stop(GRACE_SECONDS + 5)
        took = time.monotonic() - began
        self.say(f"deployment {deployment.number}: stopped in {took:.1f} s, status {process.status}; {self.progress}")

    @property
    def progress(self) -> str:
        """The number of jobs that are done."""
        return f"{len(self.observed.done)} jobs done"

    async def wait_for(self, jobs: int) -> None:
        """Wait until that many jobs are done."""
        await self._until(lambda: len(self.observed.done) >= jobs)

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not holds():  # noqa: ASYNC110 - other processes do the work
                await asyncio.sleep(POLL)

    async def disturb(self, newer: Deployment, duplicates: int, changes: int) -> None:
        """Send messages of jobs that `newer` has done, and before that, overwrite the sources of some of them."""
        observed, wanted = self.observed, duplicates + changes
        await self._until(lambda: len(observed.done_last_by(newer)) >= wanted or len(observed.done) == self.images)
        jobs = self.observed.done_last_by(newer)
        self.observed.changed.update(jobs[:changes])
        container = self.services.settings.input_container
        client = self.services.account.container(container)
        places = (source_of(JobKey.parse(job)) for job in jobs[: duplicates + changes])
        names = [place[1] for place in places if place]
        for name in names[:changes]:
            data = await (await client.download_blob(name)).readall()
            await client.upload_blob(name, data + b"changed", overwrite=True)
        for name in names:
            await self.services.job_queue.send(Message(recipe="web", container=container, name=name))

    async def rows(self) -> list[Entry]:
        """Return the rows of all jobs."""
        keys = key_range(self.services.settings.input_container, "")
        return [entry async for entry in self.services.ledger.scan("web", *keys)]

    async def settle(self) -> tuple[int, list[Entry]]:
        """Wait until the job queue is empty and all jobs are done. Return the number of lost jobs, and all rows."""
        settings, deadline = self.services.settings, time.monotonic() + PATIENCE_SECONDS
        queue = self.services.account.queue(settings.job_queue)
        while True:
            sources, _ = await self.services.sources.page(settings.input_container)
            rows = await self.rows()
            done = {(entry.name, entry.version.etag) for entry in rows if entry.state == "done"}
            lost = len({(source.name, source.etag) for source in sources} - done)
            waiting = (await queue.get_queue_properties()).approximate_message_count
            if not (lost or waiting) or time.monotonic() > deadline:
                return lost, rows
            await asyncio.sleep(POLL)

    async def unlike_rows(self, rows: list[Entry]) -> int:
        """Return how many renditions are missing, or of another version or generation than the rows of their jobs."""
        wanted = {
            (one["path"], entry.key.id, entry.generation, entry.version.recipe_hash, entry.version.etag)
            for entry in rows
            for one in entry.renditions
        }
        found, cursor = set(), ""
        while True:
            page, cursor = await self.services.renditions.marked("", cursor)
            found |= {
                (each.path, each.mark.job, each.mark.generation, each.mark.recipe_version, each.mark.source_etag)
                for each in page
            }
            if not cursor:
                return len(wanted ^ found) + RENDITIONS * len(rows) - len(wanted)


async def plan_and_run(rollout: Rollout, url: str, rows: list[Entry], active: Deployment) -> bool:
    """Plan in the active deployment, run the plan, and return whether it had exactly the jobs of other versions."""
    stale = {entry.key for entry in rows if entry.version.recipe_hash != active.recipe_hash}
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        plan = (await client.post("/api/runs/plan", json={})).raise_for_status().json()
        rollout.say(f"plan: {plan['jobs']} jobs {plan['reasons']}; {len(stale)} jobs have another recipe version")
        exact: bool = plan["reasons"] == ({"recipe_changed": len(stale)} if stale else {})
        if not stale:
            return exact
        run = (await client.post("/api/runs", json={"plan": plan["id"]})).raise_for_status().json()
        seen = await wait_for_run(rollout.services, run["id"], lambda seen: seen.over)
        after = await rollout.rows()
        exact &= {entry.key for entry in after if entry.run == run["id"]} == stale
        exact &= {entry.version.recipe_hash for entry in after} == {active.recipe_hash}
        left = (await client.post("/api/runs/plan", json={})).raise_for_status().json()["jobs"]
    rollout.say(f"run, {seen.state}: {seen.progress}; exactly those jobs: {exact}; a new plan: {left} jobs")
    return exact and seen.state == "done" and not left


def report(rollout: Rollout, rows: list[Entry], deployments: list[Deployment]) -> tuple[int, int]:
    """Print the versions with which the jobs ended. Return how many have an older deployment's result, and attempts.

    Each job's row must have the recipe version of the newest deployment that has done it.
    """
    observed, older = rollout.observed, rollout.observed.older_after_newer()
    for entry in rows:
        newest = max(observed.done.get(entry.key.id, ()), key=lambda each: each.number, default=None)
        older += newest is not None and entry.version.recipe_hash != newest.recipe_hash
    for each in deployments:
        ended = len(observed.done_last_by(each))
        rollout.say(
            f"deployment {each.number}, version {each.version}: did {observed.events[each, 'job.done']} jobs, "
            f"the last result of {ended}; met done jobs {observed.events[each, 'job.skipped']} times"
        )
    names = {each.recipe_hash: each.version for each in deployments}
    ended_with = Counter(names.get(entry.version.recipe_hash, "?") for entry in rows)
    rollout.say(f"jobs by recipe version: {dict(sorted(ended_with.items()))}")
    rollout.say(f"events: {observed.counts(ATTEMPT_EVENTS + NEWER_EVENTS)}")
    return older, sum(entry.attempts - 1 for entry in rows)


async def main(options: argparse.Namespace) -> bool:
    """Execute the whole scenario. Return whether nothing was lost, repeated or replaced by an older deployment."""
    began, images, extra = time.monotonic(), options.images, (options.duplicates, options.changes)

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", flush=True)

    async with AsyncExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="deployments-")))
        stage = await parts.enter_async_context(scene(options.sessions, say))
        slow = f"latency:seconds={options.latency},on=executions"
        await parts.enter_async_context(pool(stage, options.sessions, slow))
        services = await parts.enter_async_context(stage.services())
        log = parts.enter_context(options.log.open("w")) if options.log else None
        rollout = Rollout(stage, services, parts, say, Observed(log=log), images)
        old = Deployment.make(folder / "1", "A", stage.environ)
        deployments, (process, url) = [old], await rollout.start(old)
        uploaded = time.monotonic()
        await upload_photos(services, images)
        say(f"{images} images uploaded; {rollout.progress}")
        for share, version in ((0.2, "B"), (0.5, "A")):
            await rollout.wait_for(round(share * images))
            new = Deployment.make(folder / str(len(deployments) + 1), version, stage.environ)
            new_process, url = await rollout.start(new)
            await rollout.disturb(new, *extra)
            await asyncio.sleep(options.overlap)
            await rollout.stop(old, process)
            deployments.append(new)
            old, process = new, new_process
        lost, rows = await rollout.settle()
        say(f"all done {time.monotonic() - uploaded:.0f} s after the first upload")
        older, attempts = report(rollout, rows, deployments)
        twice, anew = rollout.observed.repeated()
        unlike = await rollout.unlike_rows(rows)
        say(f"lost: {lost}; done twice: {twice}; done again in a newer version: {anew}; older over newer: {older}")
        say(f"attempts used: {attempts}; renditions missing, or unlike the rows of their jobs: {unlike}")
        exact = await plan_and_run(rollout, url, rows, old)
        return exact and len(rows) == images and not (lost or twice or older or attempts or unlike)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.deployment", description="Replace the app while it works, and roll it back."
    )
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=4)
    parser.add_argument("--latency", type=float, default=0.5, help="seconds that the pool adds to an execution")
    parser.add_argument("--duplicates", type=int, default=20, help="messages that arrive again in each replacement")
    parser.add_argument("--changes", type=int, default=10, help="sources that are overwritten in each replacement")
    parser.add_argument("--overlap", type=float, default=5, help="seconds in which both hosts still run then")
    parser.add_argument("--log", type=Path, help="file for the log lines of all hosts")
    raise SystemExit(0 if asyncio.run(main(parser.parse_args())) else 1)
