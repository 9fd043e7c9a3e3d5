"""Worker for jobs of the pipeline: the services of the function app, with many jobs at once."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from itertools import count

from azure.core.pipeline.transport import AioHttpTransport

from benchmarks.meter import Measurement, Meter, execute_concurrently
from benchmarks.testbed import source_name
from pipeline.engine import package_files
from pipeline.pool import engine_bundle
from pipeline.pool.drain import drain
from pipeline.recipes import load_recipes
from pipeline.services import Services
from pipeline.settings import Settings
from pipeline.storage import ClaimOptions, Entry
from pipeline.storage.account import create_all

WARM_UP = 2


async def many(recipe: str, numbers: range, at_once: int, work: float) -> Measurement:
    """Execute jobs for the same 64 sources repeatedly."""
    return await pipeline(recipe, numbers, at_once, work, sources=64)


async def pipeline(recipe: str, numbers: range, at_once: int, work: float, sources: int = 1_000_000) -> Measurement:
    """Execute jobs. The first ones warm sessions and connections up before the measurement."""
    if work:
        slow_down_engine(work)
    settings = Settings.load(os.environ)
    services = Services.open(settings, load_recipes(settings), os.environ)
    await create_all(services.account, settings)
    # Keep only the times of each job, as machine numbers: the memory of this process is measured.
    began, ended, worked = array("d"), array("d"), array("d")

    async def job(number: int) -> None:
        again = number >= sources
        source = source_name(recipe, number % sources)
        entry = await services.executor.execute(
            "input", source, services.recipes.get(recipe), options=ClaimOptions(again=again)
        )
        if entry.state == "running":
            return
        if entry.state != "done":
            raise SystemExit(f"{entry.name} is {entry.state}: {entry.error_message}")
        for times, moment in zip((began, ended, worked), _run(entry), strict=True):
            times.append(moment)

    first = min(WARM_UP * min(at_once, settings.pool_max_sessions), len(numbers) // 3)
    warm = range(numbers.start, numbers.start + first)
    await execute_concurrently(warm, len(warm), job)
    for times in (began, ended, worked):
        del times[:]
    storage = count_storage_calls()
    meter = Meter(memory=True)
    grown_at = numbers[len(numbers) // 10]
    early: int | None = None

    async def watched(number: int) -> None:
        nonlocal early
        await job(number)
        if number == grown_at:
            early = meter.memory()

    await execute_concurrently(range(warm.stop, numbers.stop), at_once, watched)
    told = meter.result(jobs=len(ended), storage=next(storage), later=None if early is None else meter.memory() - early)
    if not ended:
        raise SystemExit("no job has ended after the first ones, which warm up: nothing is measured")
    told["first"], told["last"] = min(began), max(ended)
    told["busy"], told["ends"] = sum(worked), list(ended)
    await services.scheduler.close()
    await drain(settings, services.slot_documents, services.pool)
    await services.close()
    return told


def _run(entry: Entry) -> tuple[float, float, float]:
    """Return the start and end of a job's execution (Unix time), and the seconds of it that belong to this job."""
    began, took = next((began, took) for stage, began, took in entry.report["spans"] if stage == "execute")
    start = entry.report["began"] + began / 1000
    return start, start + took / 1000, entry.report["session_ms"]["total"] / 1000


def count_storage_calls() -> Iterator[int]:
    """Count all further storage calls. `next` of the result returns their number."""
    calls = count()
    send = AioHttpTransport.send

    async def counting(self: AioHttpTransport, request: object, **options: object) -> object:
        next(calls)
        return await send(self, request, **options)

    AioHttpTransport.send = counting
    return calls


def slow_down_engine(seconds: float) -> None:
    """Ship an engine that waits `seconds` in each job and reports them as work."""
    wait = (
        "\n\n_quick = execute_job\n\ndef execute_job(job, directory):\n    report = _quick(job, directory)\n"
        f"    time.sleep({seconds})\n    report['ms']['total'] = report['ms'].get('total', 0) + {seconds * 1000}\n"
        "    return report\n"
    )
    files = package_files.package_files()
    slow = {file: text + wait.encode() if file == "execution/jobs.py" else text for file, text in files.items()}
    setattr(engine_bundle, "package_files", lambda: slow)  # noqa: B010 - the archive packs it
    engine_bundle.build.cache_clear()
