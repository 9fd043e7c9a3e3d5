"""Bulk runs: time and memory of planning as containers grow, and storage calls per image of a run."""

from __future__ import annotations

import time
from math import nan
from resource import RUSAGE_SELF, getrusage

from benchmarks.figures import Scale, in_turns, per_image
from benchmarks.table import Row, above, at_most, below
from benchmarks.testbed import photo, test_bed
from pipeline.storage import DEFAULT_SHARDS
from pipeline.testing import memory_services, memory_settings
from pipeline.testing.library import SimulatedLibrary
from pipeline.testing.nights import SimulatedNights

MB = 1_000_000


async def planning(scale: Scale) -> list[Row]:
    """Plan 2,000 and 20,000 sources in turns, each with a ledger that holds all of them."""
    few, many = max(200, round(2_000 * scale.size)), max(2_000, round(20_000 * scale.size))
    data = photo(16, 12)
    async with test_bed(1) as stage:
        stages = {count: stage.fresh() for count in (few, many)}
        for count, one in stages.items():
            one.environ["PIPELINE_INPUT_CONTAINER"] = f"input-{count}"
            await one.make_container()
            await one.upload("light", count, data)
            await one.worker("fill", "light", 0, count, 4)
        small, large = await in_turns(
            2,
            lambda _: stages[few].worker("plan", "light", 0, few, 1),
            lambda _: stages[many].worker("plan", "light", 0, many, 1),
        )
    grown = max(one["grown"] for one in large)
    return [
        at_most(
            f"8 planning {many:,} sources beside {few:,}, per source",
            per_image(large, "seconds") * 1e6,
            per_image(small, "seconds") * 1e6,
            "us",
            1.2,
        ),
        below(f"8 planning {many:,} sources: growth", grown / MB, "MB", 50),
    ]


async def nights(scale: Scale) -> list[Row]:
    """Find lost events beside a million jobs that a changed recipe makes due, with a cap of 10,000 jobs a night."""
    count = max(10_000, round(1_000_000 * scale.size))
    recipes = "recipes: {web: {match: {include: ['photos/**']}, renditions: {small: {format: webp}}}}"
    settings = memory_settings(schedule_max_jobs=count // 100, run_max_jobs=count, run_max_cost=1_000_000)
    found, seconds = 0, []
    async with memory_services(settings, recipes) as services:
        library = SimulatedLibrary(services.recipes, count)
        simulated = SimulatedNights(services, library)
        await simulated.night()
        before = getrusage(RUSAGE_SELF).ru_maxrss
        for lost in (count - 1, count // 2):
            library.lost = {lost}
            started = time.process_time()
            await simulated.night()
            seconds.append(time.process_time() - started)
            found += int(not library.lost)
        grown = getrusage(RUSAGE_SELF).ru_maxrss - before
    done = len(library.done)
    return [
        above(f"{count:,} due, cap {count // 100:,}: lost events found of 2", found, "", 2),
        above(f"{count:,} due, cap {count // 100:,}: jobs of 3 nights", done, "", 3 * (count // 100)),
        below(f"{count:,} due: processor time of a night, per source", max(seconds) / count * 1e6, "us", 100),
        below(f"{count:,} due: growth by two nights", grown / 1024, "MiB", 50),
    ]


async def counted_run(scale: Scale) -> list[Row]:
    """Count the storage calls of a run: one rendition per image, batches of 32 jobs, warm sessions."""
    count = max(100, round(400 * scale.size))
    # Recycling a session costs a few more calls: a high job limit keeps it out of the count.
    async with test_bed(2, PIPELINE_SESSION_MAX_JOBS="10000") as stage:
        await stage.upload("light", count, photo(400, 300))
        told = await stage.worker("run", "light", 0, count, 8)
    working, finding, jobs, batches = told["working"], told["finding"], told["jobs"], told["batches"]
    # Heartbeats of leases depend on time, not on the number of jobs: each lease is renewed every 20 s, and a slot's
    # document is written when its session starts.
    slots, leases = max(0, working.pop("slots", 0) - 2), working.pop("leases", 0)
    renewals = 2 * (told["seconds"] / 20 + 1)
    # Finding jobs sends one message per batch. Its other calls are per page of 1,000 sources.
    executing = sum(working.values())
    # Without counted calls, the counter has missed those of slots and leases as well.
    calls = executing + batches if executing else nan
    return [
        below(
            f"9 calls to storage, {jobs} jobs in {batches} batches",
            calls,
            "",
            (3 + told["renditions"]) * jobs + 2 * batches,
        ),
        below(
            "9 calls to storage to find a page of jobs",
            (sum(finding.values()) or nan) - batches,
            "",
            11 + DEFAULT_SHARDS,
        ),
        below("9 calls about leases, without heartbeats", max(0, leases - renewals) if executing else nan, "", 0),
        below("9 other calls about slots, per second", slots / told["seconds"] if executing else nan, "", 1),
    ]
