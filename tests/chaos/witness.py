"""Observe a run: record the times of faults, and the time at which each failure first appears in storage."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

from azure.core.exceptions import AzureError

from tests.chaos.checker import Checker
from tests.chaos.faults import HARMLESS
from tests.chaos.identity import LIFETIME
from tests.chaos.runs import Runs
from tests.chaos.scene import Scene
from tests.chaos.sources import job_id, source_of

# Seconds between two observations, and the delay beyond which the machine itself counts as frozen.
EVERY, STILL = 1.0, 4.0
LOOKS = 3
# A worker cannot detect a takeover if storage refuses to write the end of its job.
TAKEN_OVER = re.compile(
    r"event=job\.\w+ \[([\w-]+\.[\w-]+)\] (?:superseded: another \w+ has taken this job over|"
    r"superseded: a newer generation of .+ has been committed|not done: .+: writing the ledger: )"
)
# Logged after the failure is written to the ledger.
FAILED = re.compile(r"^(\d\d):(\d\d):(\d\d(?:\.\d{3})?) .*event=job\.failed \[(web\.[\w-]+)\] failed at", re.MULTILINE)
DAY = 86_400
# Longest duration in seconds of a fault that continues by itself, by the prefix of its kind.
LASTING = {"identity: away": LIFETIME + 15.0, "identity: ": 15.0}


class Witness:
    """Observer of a run; `runs` holds its record."""

    def __init__(self, checker: Checker, runs: Runs) -> None:
        self._checker, self.runs = checker, runs

    @contextlib.contextmanager
    def harm(self, kind: str) -> Iterator[None]:
        """Record a fault for the length of the block, and for the time that it may strike afterwards."""
        began = time.time()
        try:
            yield
        finally:
            if kind not in HARMLESS:
                more = next((seconds for start, seconds in LASTING.items() if kind.startswith(start)), 0.0)
                self.runs.reasons.append((began, time.time() + more))

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Observe within the block."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def judge(self, scene: Scene) -> list[str]:
        """Return the violations."""
        for event in scene.pool_events():
            if event["event"] == "fault" and not str(event["fault"]).startswith(("latency", "slow-start")):
                moment = datetime.fromisoformat(event["time"]).timestamp()
                self.runs.reasons.append((moment, moment))
        for proxy in scene.proxies.values():
            self.runs.reasons += [(moment, moment) for moment, fault in proxy.strikes if fault != "slow"]
        self.runs.deployed += scene.deployed
        self.runs.side_by_side += scene.side_by_side
        self.runs.reasons += scene.stopped
        text = "\n".join(log.read_text(errors="replace") for log in scene.folder.glob("host-*.log"))
        names = {job_id(drop.name): drop.name for drop in self.runs.drops.values()}
        self.runs.taken_over = Counter(source_of(job) for job in TAKEN_OVER.findall(text))
        for job, moment in failures_said(text, time.time()):
            self._note_failure(names.get(job, ""), moment)
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

    def _note_failure(self, name: str, moment: float) -> None:
        """Record a failure; for an overwritten source, the failed version is unknown."""
        marks = [mark for mark, drop in self.runs.drops.items() if drop.name == name]
        if len(marks) == 1:
            self.runs.recorded[marks[0]] = min(moment, self.runs.recorded.get(marks[0], moment))

    def _note(self, failures: set[tuple[str, str]]) -> None:
        marks = {(drop.name, drop.etag): mark for mark, drop in self.runs.drops.items()}
        now = time.time()
        for failure in failures:
            if mark := marks.get(failure):
                self.runs.recorded.setdefault(mark, now)


def failures_said(text: str, now: float) -> Iterator[tuple[str, float]]:
    """Return jobs and the times at which a host logged their failure."""
    for *clock, job in FAILED.findall(text):
        yield job, moment_of(*clock, now=now)


def moment_of(hours: str, minutes: str, seconds: str, *, now: float) -> float:
    """Return the latest time that a log line may have, which belongs to the 24 hours before `now`."""
    today = datetime.fromtimestamp(now, UTC).astimezone()
    midnight = today.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    fraction = 0 if "." in seconds else 1
    moment = midnight + int(hours) * 3600 + int(minutes) * 60 + float(seconds) + fraction
    return moment if moment <= now + 1 else moment - DAY
