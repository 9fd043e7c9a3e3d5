"""Count the executions of each source, from the record of the pool: not more than faults justify.

A job may start again after its worker or its session died, or after a message of either was lost. A recorded permanent
failure is never executed again, and nothing is executed again without a reason. The clock of one worker is wrong, so
that it may take over a job from a working one: that worker logs the takeover when it detects it, and it is counted.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tests.chaos.sources import Drop

# A fault that was recorded just before an execution may harm it.
BEFORE = 2.0
# A job ends within this time after its execution.
AFTER = 5.0
# A retry, a write or a deployment takes effect within this time.
SLOW = 30.0
MADE = "made"


@dataclass
class Run:
    """One execution of one source: its start, its end (0: never), its result: `made`, a kind of failure, or nothing."""

    began: float
    said: str = ""
    ended: float = 0.0


@dataclass
class Runs:
    """Facts to judge the executions by.

    `reasons` are the periods in which something was harmed (from, to). `recorded` is the time at which a permanent
    failure was first seen in storage, by mark. `again` is the time of a retry, by name. `taken_over` is the number of
    takeovers that workers have detected, by name. `deployed` holds the times of deployments, which change the recipe,
    and `side_by_side` the periods in which the hosts had different ones.
    `touches` are writes that changed no content, by time and name: they justify another execution of a job that has
    failed, and of one that was running.
    """

    drops: Mapping[str, Drop]
    bad: Mapping[str, str]
    again: list[tuple[float, str]]
    reasons: list[tuple[float, float]] = field(default_factory=list)
    recorded: dict[str, float] = field(default_factory=dict)
    taken_over: Counter[str] = field(default_factory=Counter)
    deployed: list[float] = field(default_factory=list)
    side_by_side: list[tuple[float, float]] = field(default_factory=list)
    touches: list[tuple[float, str]] = field(default_factory=list)

    def violations(self, file: Path) -> Iterator[str]:
        """Return violations of the rule above."""
        excused = self.taken_over.copy()
        for name, told in self._suspects(file):
            if excused[name] > 0:
                excused[name] -= 1
            else:
                yield told

    def _suspects(self, file: Path) -> Iterator[tuple[str, str]]:
        """Yield names of sources with the evidence against each of their executions."""
        for mark, runs in read(file).items():
            drop, about = self.drops[mark], f"{mark} ({self.drops[mark].content})"
            found = {
                run.began: f"{about} was run after its failure had been recorded" for run in self._late(mark, runs)
            }
            # An execution with another result, or none, was harmed before or during it.
            verdict = self.bad.get(drop.content, MADE)
            for one, next_one in pairwise(runs):
                if one.said == verdict and not (
                    self._reason(drop.name, one.began - BEFORE, next_one.began)
                    or self._touched(drop.name, one, next_one, ended=verdict == MADE)
                ):
                    found.setdefault(next_one.began, f"{about} was run again although nothing had happened to it")
            yield from ((drop.name, told) for told in self._without_newer_versions(found))

    def _without_newer_versions(self, found: dict[float, str]) -> Iterator[str]:
        """Yield the evidence without one execution in each period in which the hosts had different recipe versions.

        If an event arrives twice there, the newer deployment does the job again, in its recipe version.
        """
        excused = [
            min((moment for moment in found if start <= moment <= end), default=None)
            for start, end in self.side_by_side
        ]
        yield from (told for moment, told in found.items() if moment not in excused)

    def _late(self, mark: str, runs: list[Run]) -> list[Run]:
        """Return the executions after the record of a failure, up to a retry, a deployment or a write."""
        known, name = self.recorded.get(mark, float("inf")), self.drops[mark].name
        excuses = [moment for moment, who in (*self.again, *self.touches) if who == name]
        later = [moment for moment in (*excuses, *self.deployed) if moment > known - SLOW]
        until = min(later, default=float("inf"))
        return [run for run in runs if known < run.began <= until]

    def _reason(self, name: str, start: float, end: float) -> bool:
        asked = any(who == name and start <= moment <= end for moment, who in self.again)
        deployed = any(start <= moment <= end for moment in self.deployed)
        return asked or deployed or any(begin <= end and start <= until for begin, until in self.reasons)

    def _touched(self, name: str, one: Run, next_one: Run, *, ended: bool) -> bool:
        """Return whether a write without content justifies another execution: not after a job is done."""
        last = one.ended + AFTER if ended and one.ended else next_one.began
        return any(who == name and one.began - BEFORE <= moment <= last for moment, who in self.touches)


def read(file: Path) -> dict[str, list[Run]]:
    """Return the executions of each source by mark, in order; truncated lines are ignored."""
    runs: dict[str, list[Run]] = defaultdict(list)
    began: dict[tuple[str, int], Run] = {}
    for event in (line for line in _lines(file) if line["event"] != "session"):
        for place, (mark, said) in enumerate(zip(event["marks"], event["said"], strict=True)):
            if event["event"] == "began" and mark:
                began[event["run"], place] = Run(event["time"])
                runs[mark].append(began[event["run"], place])
            elif run := began.get((event["run"], place)):
                run.said, run.ended = said, event["time"]
    return runs


def identifiers(file: Path) -> set[str]:
    """Return the identifiers of all sessions."""
    return {line["identifier"] for line in _lines(file) if line["event"] == "session"}


def counted(runs: Iterable[list[Run]]) -> dict[str, int]:
    """Summarize: the number of sources, of executions, and the maximum for one source."""
    lengths = [len(each) for each in runs]
    return {"sources": len(lengths), "runs": sum(lengths), "most of one source": max(lengths, default=0)}


def _lines(file: Path) -> Iterator[dict]:  # type: ignore[type-arg]
    for line in file.read_text().splitlines():
        with suppress(ValueError):
            yield json.loads(line)
