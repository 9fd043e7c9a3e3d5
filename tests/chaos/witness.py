"""Looks on during a run, and remembers when something was harmed and when a failure was first seen in storage."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import datetime

from azure.core.exceptions import AzureError

from tests.chaos.checker import Checker
from tests.chaos.faults import HARMLESS
from tests.chaos.identity import LIFETIME
from tests.chaos.runs import Runs
from tests.chaos.scene import Scene
from tests.chaos.sources import job_id

# Seconds between two looks, and how late one may come before the machine itself counts as having stood still.
EVERY, STILL = 1.0, 4.0
LOOKS = 3
TAKEN_OVER = re.compile(r"\[(web\.[\w-]+)\] nothing to do: another process has taken this job over")
# For how long at most a fault goes on by itself, in seconds, by what its kind begins with.
LASTING = {"identity: away": LIFETIME + 15.0, "identity: ": 15.0}


class Witness:
    """`runs` is what it remembers."""

    def __init__(self, checker: Checker, runs: Runs) -> None:
        self._checker, self.runs = checker, runs

    @contextlib.contextmanager
    def harm(self, kind: str) -> Iterator[None]:
        """A fault happens in the length of a block, and may strike for a while after it."""
        began = time.time()
        try:
            yield
        finally:
            if kind not in HARMLESS:
                more = next((seconds for start, seconds in LASTING.items() if kind.startswith(start)), 0.0)
                self.runs.reasons.append((began, time.time() + more))

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look on for the length of a block."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def judge(self, scene: Scene) -> list[str]:
        """What must not be, once all is over."""
        for event in scene.pool_events():
            if event["event"] == "fault" and not str(event["fault"]).startswith(("latency", "slow-start")):
                moment = datetime.fromisoformat(event["time"]).timestamp()
                self.runs.reasons.append((moment, moment))
        for proxy in scene.proxies.values():
            self.runs.reasons += [(moment, moment) for moment, fault in proxy.strikes if fault != "slow"]
        self.runs.taken_over = _taken_over(scene, self.runs)
        return list(self.runs.violations(scene.runs_log))

    async def _watch(self) -> None:
        seen = time.time()
        while True:
            for _ in range(LOOKS):
                await asyncio.sleep(EVERY)
                if time.time() - seen > EVERY + STILL:
                    self.runs.reasons.append((seen, time.time()))
                seen = time.time()
            with contextlib.suppress(AzureError):
                self._note(await asyncio.to_thread(self._checker.recorded))
            seen = time.time()

    def _note(self, failures: set[tuple[str, str]]) -> None:
        marks = {(drop.name, drop.etag): mark for mark, drop in self.runs.drops.items()}
        now = time.time()
        for failure in failures:
            if mark := marks.get(failure):
                self.runs.recorded.setdefault(mark, now)


def _taken_over(scene: Scene, runs: Runs) -> Counter[str]:
    """How often a worker says that it found its job taken over, by the name of the source."""
    names = {job_id(drop.name): drop.name for drop in runs.drops.values()}
    text = "\n".join(log.read_text(errors="replace") for log in scene.folder.glob("host-*.log"))
    return Counter(names[job] for job in TAKEN_OVER.findall(text) if job in names)
