"""How often each source was really run, by what was kept at the pool's side: no more often than something went wrong.

A job may begin again when its worker died, when its session did, or when what either said got lost. But what is
recorded as a failure for good is never run again, and nothing is run again without a reason at all. One worker's clock
is wrong, so that it may take a job over from another that is at work: that one says so once it finds out, and counts.
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

# A fault that is noted just before a run may be what harms it.
BEFORE = 2.0
MADE = "made"


@dataclass
class Run:
    """One execution of one source: when it began, and what it said: `made`, a kind of failure, or nothing."""

    began: float
    said: str = ""


@dataclass
class Runs:
    """What happened, to judge the runs by: `reasons` are when something was harmed (from, to), `recorded` when a
    failure for good was first seen in storage, by mark, `again` when a job was asked for once more, by name, and
    `taken_over` how often a worker found its job taken over by another, by name.
    """

    drops: Mapping[str, Drop]
    bad: Mapping[str, str]
    again: list[tuple[float, str]]
    reasons: list[tuple[float, float]] = field(default_factory=list)
    recorded: dict[str, float] = field(default_factory=dict)
    taken_over: Counter[str] = field(default_factory=Counter)

    def violations(self, file: Path) -> Iterator[str]:
        """What must not be."""
        excused = self.taken_over.copy()
        for name, told in self._suspects(file):
            if excused[name] > 0:
                excused[name] -= 1
            else:
                yield told

    def _suspects(self, file: Path) -> Iterator[tuple[str, str]]:
        """Names of sources, and what speaks against them."""
        for mark, runs in read(file).items():
            drop = self.drops[mark]
            yield from ((drop.name, each) for each in self._after_the_record(mark, drop, runs))
            # What said something else, or nothing, was harmed before or while it ran.
            verdict = self.bad.get(drop.content, MADE)
            for one, next_one in pairwise(runs):
                if one.said == verdict and not self._reason(drop.name, one.began - BEFORE, next_one.began):
                    yield drop.name, f"{mark} ({drop.content}) was run again although nothing had happened to it"

    def _after_the_record(self, mark: str, drop: Drop, runs: list[Run]) -> Iterator[str]:
        known = self.recorded.get(mark)
        late = [run for run in runs if known is not None and run.began > known]
        if late and not any(name == drop.name and moment < late[0].began for moment, name in self.again):
            yield from [f"{mark} ({drop.content}) was run after its failure had been recorded"] * len(late)

    def _reason(self, name: str, start: float, end: float) -> bool:
        asked = any(who == name and start <= moment <= end for moment, who in self.again)
        return asked or any(begin <= end and start <= until for begin, until in self.reasons)


def read(file: Path) -> dict[str, list[Run]]:
    """The runs of each source, by its mark, in order; a line that a kill cut short is left out."""
    runs: dict[str, list[Run]] = defaultdict(list)
    began: dict[tuple[str, int], Run] = {}
    for event in (line for line in _lines(file) if line["event"] != "session"):
        for place, (mark, said) in enumerate(zip(event["marks"], event["said"], strict=True)):
            if event["event"] == "began" and mark:
                began[event["run"], place] = Run(event["time"])
                runs[mark].append(began[event["run"], place])
            elif run := began.get((event["run"], place)):
                run.said = said
    return runs


def identifiers(file: Path) -> set[str]:
    """Those of all sessions that there were."""
    return {line["identifier"] for line in _lines(file) if line["event"] == "session"}


def counted(runs: Iterable[list[Run]]) -> dict[str, int]:
    """For people: how many sources, how many runs, and the most of one."""
    lengths = [len(each) for each in runs]
    return {"sources": len(lengths), "runs": sum(lengths), "most of one source": max(lengths, default=0)}


def _lines(file: Path) -> Iterator[dict]:  # type: ignore[type-arg]
    for line in file.read_text().splitlines():
        with suppress(ValueError):
            yield json.loads(line)
