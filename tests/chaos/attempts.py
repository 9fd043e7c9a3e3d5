"""Attempts that jobs used up during outages, from the logs of the hosts: there must be none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.chaos.witness import moment_of

REQUEUED = re.compile(
    r"^(\d\d):(\d\d):(\d\d(?:\.\d{3})?) .*event=job\.requeued \[([\w-]+\.[\w-]+)\] .*attempts used up: (\d+), (.*)$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Requeued:
    """A job that went back to its queue: the attempts that it had used up, and the rest of the log line."""

    moment: float
    job: str
    attempts: int
    reason: str


def requeued(text: str, now: float) -> Iterator[Requeued]:
    """Return the requeued jobs of a log."""
    for *clock, job, attempts, reason in REQUEUED.findall(text):
        yield Requeued(moment_of(*clock, now=now), job, int(attempts), reason)


def used_up(lines: Iterable[Requeued], outages: Iterable[tuple[str, float, float]]) -> tuple[int, list[str]]:
    """Return the number of jobs that outages sent back, and the attempts that were used up meanwhile."""
    windows, waited, found = list(outages), set[tuple[str, float]](), list[str]()
    before: dict[str, int] = {}
    for line in sorted(lines, key=lambda each: each.moment):
        for kind, began, ended in windows:
            if began <= line.moment <= ended:
                waited.add((line.job, began))
                if line.attempts > before.get(line.job, 0):
                    found.append(f"{kind}: {line.job} used up an attempt: {line.reason}")
        before[line.job] = line.attempts
    return len(waited), found
