"""Runs: what planning costs as containers grow, and how many calls to storage an image of a run takes."""

from __future__ import annotations

from benchmarks.figures import Scale, each, turns
from benchmarks.stage import photo, staged
from benchmarks.table import Row, at_most, below

MB = 1_000_000


async def planning(scale: Scale) -> list[Row]:
    """2,000 and 20,000 sources, each against a ledger that knows all of them, in turns."""
    few, many = max(200, round(2_000 * scale.size)), max(2_000, round(20_000 * scale.size))
    data = photo(16, 12)
    async with staged(1) as stage:
        stages = {count: stage.anew() for count in (few, many)}
        for count, one in stages.items():
            one.environ["PIPELINE_INPUT_CONTAINER"] = f"input-{count}"
            await one.make_container()
            await one.drop("light", count, data)
            await one.worker("fill", "light", 0, count, 4)
        small, large = await turns(
            2,
            lambda _: stages[few].worker("plan", "light", 0, few, 1),
            lambda _: stages[many].worker("plan", "light", 0, many, 1),
        )
    grown = max(one["grown"] for one in large)
    return [
        at_most(
            f"8 planning {many:,} sources beside {few:,}, per source",
            each(large, "seconds") * 1e6,
            each(small, "seconds") * 1e6,
            "us",
            1.2,
        ),
        below(f"8 planning {many:,} sources: growth", grown / MB, "MB", 50),
    ]


async def counted_run(scale: Scale) -> list[Row]:
    """A run of one rendition per image, in batches of 32, sessions warm."""
    count = max(100, round(400 * scale.size))
    # A session that is recycled, as it is after so many jobs, costs a few calls more.
    async with staged(2, PIPELINE_SESSION_MAX_JOBS="10000") as stage:
        await stage.drop("light", count, photo(400, 300))
        told = await stage.worker("run", "light", 0, count, 8)
    working, finding, jobs, batches = told["working"], told["finding"], told["jobs"], told["batches"]
    # Slots are kept by the clock, whatever the number of jobs: each lease is renewed every 20 seconds, and a document
    # is written when its session begins.
    slots, leases = max(0, working.pop("slots", 0) - 2), working.pop("leases", 0)
    renewals = 2 * (told["seconds"] / 20 + 1)
    # Every batch is sent once, which is part of finding; what else that takes is per page of 1,000 sources.
    calls = sum(working.values()) + batches
    return [
        below(
            f"9 calls to storage, {jobs} jobs in {batches} batches",
            calls,
            "",
            (3 + told["renditions"]) * jobs + 2 * batches,
        ),
        below("9 calls to storage to find a page of jobs", sum(finding.values()) - batches, "", 12),
        below("9 calls about leases, beyond renewals", max(0, leases - renewals), "", 0),
        below("9 other calls about slots, per second", slots / told["seconds"], "", 1),
    ]
