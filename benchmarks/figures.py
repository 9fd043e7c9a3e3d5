"""The figures that compare throughput. Each is a ratio within one run: what is compared takes turns, round by round."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.stage import Stage, photo, staged
from benchmarks.table import Row, above, at_least, at_most, below

Told = dict[str, Any]
# Where two cores are the limit, the pool is not to start sessions for later on them: whoever is measured has its own.
NO_SPARES = ("--spares", "0")
# Small images under way at once for each session, as many as fill it.
UNDER_WAY = 24


@dataclass(frozen=True)
class Scale:
    """How much to do: 1 is the figure as it is defined, less is a quick look. And in how many rounds."""

    size: float = 1.0
    rounds: int = 2

    def of(self, count: int, least: int = 8) -> int:
        """So many, per round."""
        return max(least, round(count * self.size))


def rate(told: list[Told]) -> float:
    """Images a second."""
    return float(sum(each["jobs"] for each in told) / sum(each["seconds"] for each in told))


def each(told: list[Told], key: str) -> float:
    """Of something, per image."""
    return float(sum(one[key] for one in told) / sum(one["jobs"] for one in told))


async def turns(rounds: int, *doing: Callable[[int], Awaitable[Told]]) -> list[list[Told]]:
    """What each told, in turns."""
    told: list[list[Told]] = [[] for _ in doing]
    for number in range(rounds):
        for one, heard in zip(doing, told, strict=True):
            heard.append(await one(number))
    return told


async def local_heavy(scale: Scale) -> list[Row]:
    """Photos of 12 megapixels, three renditions each, two sessions; beside Pillow in two processes."""
    data, count = photo(4000, 3000), scale.of(100)
    async with staged(2, *NO_SPARES) as stage:
        await stage.drop("heavy", count + 4, data)
        source = stage.folder / "photo.jpg"
        source.write_bytes(data)

        async def pipeline(_: int) -> Told:
            return await stage.anew().worker("pipeline", "heavy", 0, count + 4, 16)

        async def bare(_: int) -> Told:
            half = [stage.worker("bare", "heavy", 0, count // 2, 1, SOURCE=str(source)) for _ in range(2)]
            told = await asyncio.gather(*half)
            return {"jobs": count // 2 * 2, "seconds": max(one["seconds"] for one in told)}

        ours, theirs = await turns(scale.rounds, pipeline, bare)
    return [at_least("1 local, heavy: beside bare Pillow, 2 processes", rate(ours), rate(theirs), "images/s", 0.8)]


async def local_light(scale: Scale) -> list[Row]:
    """Photos of 0.4 megapixels, cropped; beside the naive client, and beside the calls alone."""
    data, count = photo(730, 548), scale.of(500, 24)
    # The naive client stays in its sessions, too, whatever was in them before.
    async with staged(2, *NO_SPARES, PIPELINE_SESSION_MAX_JOBS="10000") as stage:
        await stage.drop("light", count + 4, data)
        runs: list[int] = []

        async def pipeline(_: int) -> Told:
            since = stage.logged()
            told = await stage.anew().worker("pipeline", "light", 0, count + 4, 2 * UNDER_WAY)
            runs.append(sum(call["path"] == "/executions" for call in stage.calls(since)))
            return told

        async def naive(_: int) -> Told:
            return await stage.worker("naive", "light", 0, count, 2)

        async def calls(_: int) -> Told:
            return await stage.worker("calls", "light", 0, count + 4, 2 * UNDER_WAY, (count + 4) / runs[-1])

        ours, theirs, alone = await turns(scale.rounds, pipeline, naive, calls)
    cpu, bare = each(ours, "cpu") * 1000, each(alone, "cpu") * 1000
    return [
        at_least("2 local, light: beside the naive client", rate(ours), rate(theirs), "images/s", 2),
        at_most("2 processor time per image beside the calls alone", cpu, bare, "ms", 1.3),
        below("2 processor time per image", cpu, "ms", 20),
    ]


async def far(scale: Scale) -> list[Row]:
    """A pool that is 40 and 200 ms away, four sessions, 100 ms of work per image."""
    rows = []
    for delay, busy, faster in ((0.04, 0.9, 2.5), (0.2, 0.75, 7)):
        async with staged(4, "--fault", f"latency:seconds={delay}") as stage:
            ours, theirs = await _far(stage, scale)
        ms = round(delay * 1000)
        rows += [
            above(f"3 {ms} ms away: sessions busy", _busy(ours, 4), "", busy),
            at_least(f"3 {ms} ms away: beside the naive client", rate(ours), rate(theirs), "images/s", faster),
        ]
    return rows


async def _far(stage: Stage, scale: Scale) -> list[list[Told]]:
    count = scale.of(600, 80)
    await stage.drop("light", count + 8, photo(400, 300))

    async def pipeline(_: int) -> Told:
        return await stage.anew().worker("pipeline", "light", 0, count + 8, 4 * UNDER_WAY, 0.1)

    async def naive(_: int) -> Told:
        return await stage.worker("naive", "light", 0, count // 4, 4, 0.1)

    return await turns(scale.rounds, pipeline, naive)


def _busy(told: list[Told], sessions: int) -> float:
    """The part of the time from the first run to the end of the last in which the sessions worked."""
    return float(sum(one["busy"] for one in told) / sum(one["last"] - one["first"] for one in told) / sessions)


async def scaling(scale: Scale) -> list[Row]:
    """A second of waiting per image: 1 to 16 sessions from one process, and 16 from four."""
    rates: dict[int, float] = {}
    per_session = max(3, round(10 * scale.size))
    async with staged(16) as stage:
        await stage.drop("light", 32 * (per_session + 2), photo(400, 300))
        for sessions in (1, 2, 4, 8, 16):
            count = sessions * (per_session + 2)
            few = {"PIPELINE_POOL_MAX_SESSIONS": str(sessions)}
            told = await stage.anew().worker("pipeline", "light", 0, count, 3 * sessions, 1.0, **few)
            rates[sessions] = rate([told])
        shared = stage.anew()
        # Twice as many as before, since who comes first has all slots for some seconds.
        count = 8 * (per_session + 2)
        four = await asyncio.gather(*(shared.worker("pipeline", "light", n * count, count, 12, 1.0) for n in range(4)))
    return [
        *(at_least(f"4 {n} sessions, one process", rates[n], n * rates[1], "images/s", 0.9) for n in (2, 4, 8, 16)),
        at_least("4 16 sessions, four processes", _together(four), 16 * rates[1], "images/s", 0.9),
    ]


def _together(told: list[Told]) -> float:
    """Images a second while all of these processes were at work: each comes and warms up when it can."""
    began, ended = max(one["first"] for one in told), min(one["last"] for one in told)
    return float(sum(began < end <= ended for one in told for end in one["ends"]) / (ended - began))
