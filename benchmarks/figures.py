"""Throughput figures. Each is a ratio within one run: the compared programs take turns, round by round."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import nan
from typing import Any

from benchmarks.table import Row, above, at_least, at_most, below, quotient
from benchmarks.testbed import TestBed, photo, test_bed

Measurement = dict[str, Any]
# Two cores are the limit here: the pool must not start spare sessions while a program is measured.
NO_SPARES = ("--spares", "0")
# Concurrent small images per session: enough to keep it busy.
UNDER_WAY = 24
# Jobs of each of four processes that share 16 sessions, one second each. The first process may hold all sessions for
# ten seconds, which takes 160 jobs. The other 40 leave ten seconds in which all four execute.
SHARED_JOBS = 200
# All processes must have executed together for this time: a rate over less is chance.
LEAST_OVERLAP_SECONDS = 5


@dataclass(frozen=True)
class Scale:
    """Scale of the load (1 as defined, less for a quick look) and number of rounds."""

    size: float = 1.0
    rounds: int = 2

    def of(self, count: int, least: int = 8) -> int:
        """Return the scaled number of images per round, at least `least`."""
        return max(least, round(count * self.size))


def rate(told: list[Measurement]) -> float:
    """Return images per second over all rounds; NaN without an image."""
    return quotient(sum(each["jobs"] for each in told) or nan, sum(each["seconds"] for each in told))


def per_image(told: list[Measurement], key: str) -> float:
    """Return the mean of a measured value per image; NaN without an image."""
    return quotient(sum(one[key] for one in told), sum(one["jobs"] for one in told))


async def in_turns(rounds: int, *doing: Callable[[int], Awaitable[Measurement]]) -> list[list[Measurement]]:
    """Run the programs in turns. Return the results of each."""
    told: list[list[Measurement]] = [[] for _ in doing]
    for number in range(rounds):
        for one, heard in zip(doing, told, strict=True):
            heard.append(await one(number))
    return told


async def local_heavy(scale: Scale) -> list[Row]:
    """Compare 12-megapixel images with three renditions in two sessions to Pillow in two processes."""
    data, count = photo(4000, 3000), scale.of(100)
    async with test_bed(2, *NO_SPARES) as stage:
        await stage.upload("heavy", count + 4, data)
        source = stage.folder / "photo.jpg"
        source.write_bytes(data)

        async def pipeline(_: int) -> Measurement:
            return await stage.fresh().worker("pipeline", "heavy", 0, count + 4, 16)

        async def bare(_: int) -> Measurement:
            half = [stage.worker("bare", "heavy", 0, count // 2, 1, SOURCE=str(source)) for _ in range(2)]
            told = await asyncio.gather(*half)
            return {"jobs": count // 2 * 2, "seconds": max(one["seconds"] for one in told)}

        ours, theirs = await in_turns(scale.rounds, pipeline, bare)
    return [at_least("1 local, heavy: beside bare Pillow, 2 processes", rate(ours), rate(theirs), "images/s", 1.1)]


async def local_light(scale: Scale) -> list[Row]:
    """Compare cropped 0.4-megapixel images to the naive client and to the calls alone."""
    data, count = photo(730, 548), scale.of(500, 24)
    # The naive client never recycles its sessions either.
    async with test_bed(2, *NO_SPARES, PIPELINE_SESSION_MAX_JOBS="10000") as stage:
        await stage.upload("light", count + 4, data)
        runs: list[int] = []

        async def pipeline(_: int) -> Measurement:
            since = stage.logged()
            told = await stage.fresh().worker("pipeline", "light", 0, count + 4, 2 * UNDER_WAY)
            executions = sum(call["path"] == "/executions" for call in stage.calls(since))
            if not executions:
                raise SystemExit("the log of the session pool has no executions: their share is unknown")
            runs.append(executions)
            return told

        async def naive(_: int) -> Measurement:
            return await stage.worker("naive", "light", 0, count, 2)

        async def calls(_: int) -> Measurement:
            return await stage.worker("calls", "light", 0, count + 4, 2 * UNDER_WAY, (count + 4) / runs[-1])

        ours, theirs, alone = await in_turns(scale.rounds, pipeline, naive, calls)
    cpu, bare = per_image(ours, "cpu") * 1000, per_image(alone, "cpu") * 1000
    return [
        at_least("2 local, light: beside the naive client", rate(ours), rate(theirs), "images/s", 2.2),
        at_most("2 processor time per image beside the calls alone", cpu, bare, "ms", 0.4),
        below("2 processor time per image", cpu, "ms", 20),
    ]


async def far(scale: Scale) -> list[Row]:
    """Measure a pool that is 40 and 200 ms away, with four sessions and 100 ms of work per image."""
    rows = []
    for delay, busy, faster in ((0.04, 0.9, 2.5), (0.2, 0.75, 7)):
        async with test_bed(4, "--fault", f"latency:seconds={delay}") as stage:
            ours, theirs = await _far(stage, scale)
        ms = round(delay * 1000)
        rows += [
            above(f"3 {ms} ms away: sessions busy", _busy(ours, 4), "", busy),
            at_least(f"3 {ms} ms away: beside the naive client", rate(ours), rate(theirs), "images/s", faster),
        ]
    return rows


async def _far(stage: TestBed, scale: Scale) -> list[list[Measurement]]:
    count = scale.of(600, 80)
    await stage.upload("light", count + 8, photo(400, 300))

    async def pipeline(_: int) -> Measurement:
        return await stage.fresh().worker("pipeline", "light", 0, count + 8, 4 * UNDER_WAY, 0.1)

    async def naive(_: int) -> Measurement:
        return await stage.worker("naive", "light", 0, count // 4, 4, 0.1)

    return await in_turns(scale.rounds, pipeline, naive)


def _busy(told: list[Measurement], sessions: int) -> float:
    """Return the share of time in which sessions worked, from the first execution to the end of the last."""
    return quotient(sum(one["busy"] for one in told), sum(one["last"] - one["first"] for one in told) * sessions)


async def scaling(scale: Scale) -> list[Row]:
    """Measure throughput from 1 to 16 sessions with one process, and 16 with four; each image waits one second."""
    rates: dict[int, float] = {}
    per_session = max(3, round(10 * scale.size))
    async with test_bed(16) as stage:
        # The work does not shrink with the scale: processes that do not overlap measure nothing.
        shared_jobs = max(SHARED_JOBS, 8 * (per_session + 2))
        await stage.upload("light", 4 * shared_jobs, photo(400, 300))
        for sessions in (1, 2, 4, 8, 16):
            count = sessions * (per_session + 2)
            few = {"PIPELINE_POOL_MAX_SESSIONS": str(sessions)}
            told = await stage.fresh().worker("pipeline", "light", 0, count, 3 * sessions, 1.0, **few)
            rates[sessions] = rate([told])
        shared = stage.fresh()
        four = await asyncio.gather(
            *(shared.worker("pipeline", "light", n * shared_jobs, shared_jobs, 12, 1.0) for n in range(4))
        )
    return [
        *(at_least(f"4 {n} sessions, one process", rates[n], n * rates[1], "images/s", 0.9) for n in (2, 4, 8, 16)),
        at_least("4 16 sessions, four processes", overlapping_rate(four), 16 * rates[1], "images/s", 0.9),
    ]


def overlapping_rate(results: list[Measurement]) -> float:
    """Return images per second while all processes were executing; NaN if that were less than a few seconds."""
    start, end = max(one["first"] for one in results), min(one["last"] for one in results)
    if end - start < LEAST_OVERLAP_SECONDS:
        return nan
    return quotient(sum(start < moment <= end for one in results for moment in one["ends"]), end - start)
