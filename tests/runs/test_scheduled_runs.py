"""Scheduled runs make progress every night, however much is due: in memory, and on simulated libraries."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import StateConflict
from pipeline.runs import Selection
from pipeline.runs.model import Progress
from pipeline.runs.rounds import Night, Round, fair_share
from pipeline.runs.scheduled_start import SCHEDULE_KEY
from pipeline.runs.selection import Due, DuePage, Reason
from pipeline.storage import Listed, RunWork
from pipeline.testing import FakePool, MemoryAccount
from pipeline.testing.library import SimulatedLibrary
from pipeline.testing.nights import SimulatedNights
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory
from tests.runs.nights import night, round_nights
from tests.stack import RECIPES

WEB = Selection(recipes=("web",))
ONE_RECIPE = "recipes: {web: {match: {include: ['photos/**']}, renditions: {small: {format: webp}}}}"
CHANGED = RECIPES.replace("width: 200", "width: 150")


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the names of the logged events."""
    return [getattr(record, "event", "") for record in caplog.records]


async def upload(memory: Memory, count: int, prefix: str = "photos") -> None:
    """Upload sources without any event."""
    for number in range(count):
        await memory.upload(f"{prefix}/{number:03d}.jpg", image_bytes(60, 40, seed=number))


@pytest.mark.parametrize("page_size", [2, 1000])
async def test_each_night_processes_as_many_jobs_as_its_cap(
    page_size: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nine sources are due, and the cap is four: within a page, and across pages."""
    monkeypatch.setattr("pipeline.runs.selection.PAGE_SIZE", page_size)
    caplog.set_level(logging.INFO)
    async with open_in_memory(schedule_max_jobs=4, schedule_reasons="due") as memory:
        await upload(memory, 9)
        first, *others = [await night(memory) for _ in range(3)]
        assert [(run.state, run.progress, run.more_due) for run in (first, *others)] == [
            ("done", Progress(done=4), True),
            ("done", Progress(done=4), True),
            ("done", Progress(done=1), False),
        ]
        assert len(await memory.outputs()) == 18
        assert events(caplog).count("run.cap_reached") == 2
        assert "5 jobs or more wait for the next nights, 4 a night (PIPELINE_SCHEDULE_MAX_JOBS)" in first.why


async def test_a_page_with_more_jobs_than_the_cap_is_taken_in_part() -> None:
    """Eleven recipes make every page larger than the cap."""
    names = [f"r{number:02d}" for number in range(11)]
    one = "{match: {include: ['photos/**']}, renditions: {small: {format: webp}}}"
    recipes = "recipes:\n" + "\n".join(f"  {name}: {one}" for name in names)
    async with open_in_memory(recipes, schedule_max_jobs=5) as memory:
        await upload(memory, 1)
        founds = []
        while not founds or founds[-1].more_due:
            founds.append(await night(memory))
        assert sum(run.progress.done for run in founds) == 11
        assert all(run.progress.done for run in founds)


async def test_a_lost_event_is_found_the_next_night_behind_a_million_changed_recipes() -> None:
    """Here with 5,000; `python -m benchmarks nights` has the full size."""
    async with open_in_memory(ONE_RECIPE, schedule_max_jobs=200) as memory:
        library = SimulatedLibrary(memory.services.recipes, 5_000)
        nights = SimulatedNights(memory.services, library)
        library.lost = {4_999}
        run = await nights.night()
        assert (run.state, run.progress, run.more_due) == ("done", Progress(done=200), True)
        assert library.lost == set()
        assert len(library.done) == 200
        library.lost = {700, 3_456}
        await nights.night()
        assert library.lost == set()
        assert len(library.done) == 400


async def test_a_round_takes_every_job_once_and_a_slow_round_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    async with open_in_memory(ONE_RECIPE, schedule_max_jobs=42, schedule_reasons="recipe_changed") as memory:
        library = SimulatedLibrary(memory.services.recipes, 400)
        nights = SimulatedNights(memory.services, library)
        counts = [(await nights.night()).found for _ in range(10)]
        assert counts == [42] * 9 + [22]
        assert len(library.done) == 400
        slow = [record.getMessage() for record in caplog.records if getattr(record, "event", "") == "run.round_slow"]
        assert [each.split(" nights")[0].rpartition(" ")[2] for each in slow] == ["7", "8", "9"]
        assert (await round_nights(memory.services))["recipe_changed"] == 0


async def test_jobs_that_stay_due_delay_no_others_of_their_page() -> None:
    """The reason `done` is due every night: the cap moves through the library, and wraps around."""
    async with open_in_memory(ONE_RECIPE, schedule_max_jobs=3, schedule_reasons="done") as memory:
        await upload(memory, 7)
        await memory.services.runs.start(WEB, expected_count=7)
        await memory.process_messages()
        taken = []
        for _ in range(5):
            run = await night(memory)
            entries, _ = await memory.services.ledger.page(run=run.id)
            taken.append(sorted(int(entry.name[7:10]) for entry in entries))
        # A tenth of the cap is for `done` in any case; all of it, since no other reason is due.
        assert taken == [[0, 1, 2], [3, 4, 5], [0, 1, 6], [2, 3, 4], [0, 5, 6]]


async def test_missed_jobs_wrap_around_too() -> None:
    """More sources are new every night than the cap: the last one is taken within a round."""
    async with open_in_memory(ONE_RECIPE, schedule_max_jobs=2, schedule_reasons="new") as memory:
        await upload(memory, 5, "photos/m")
        assert (await night(memory)).progress.done == 2
        await upload(memory, 4, "photos/a")
        names = []
        for _ in range(4):
            run = await night(memory)
            entries, _ = await memory.services.ledger.page(run=run.id)
            names.append(sorted(entry.name for entry in entries))
        assert names[0] == ["photos/m/002.jpg", "photos/m/003.jpg"]
        assert names[1] == ["photos/a/000.jpg", "photos/m/004.jpg"]
        assert names[2:] == [["photos/a/001.jpg", "photos/a/002.jpg"], ["photos/a/003.jpg"]]


async def test_no_reason_starves_another() -> None:
    """New sources fill the cap every night; a tenth of it is for changed recipes."""
    account, sessions = MemoryAccount(), FakePool()
    async with open_in_memory(account=account, pool=sessions) as memory:
        await upload(memory, 3, "photos/old")
        await memory.services.runs.start(WEB, expected_count=3)
        await memory.process_messages()
    async with open_in_memory(CHANGED, account=account, pool=sessions, schedule_max_jobs=5) as memory:
        changed = []
        for count in range(4):
            await upload(memory, 12, f"photos/new{count}")
            run = await night(memory)
            assert run.progress.done == 5
            entries, _ = await memory.services.ledger.page(run=run.id)
            changed.append(sum(entry.name.startswith("photos/old") for entry in entries))
        assert sum(changed) == 2, "a tenth of four nights of five jobs"


def test_a_share_is_fair() -> None:
    assert fair_share(10, [100]) == 10
    assert fair_share(10, [100, 100, 100]) == 4
    assert fair_share(10, [1, 100, 100]) == 1
    assert fair_share(9, [100, 1, 100]) == 4
    assert fair_share(10, [3, 4, 2]) == 3
    assert fair_share(1, [5, 5, 5]) == 1
    assert fair_share(0, [5]) == 0


def test_a_small_cap_serves_the_reason_first_that_has_waited_longest() -> None:
    reasons: tuple[Reason, ...] = ("new", "failed", "recipe_changed", "missing")
    rounds = {"failed": Round(served=2), "recipe_changed": Round(served=1), "missing": Round(served=3)}
    night = Night.begin(4, 1, reasons, rounds)
    assert night.passes == ("missed", "missed", "missing", "recipe_changed", "failed", "missed")
    assert sum(Night.begin(number, 7, reasons, {}).share for number in range(100)) == 630


def simulated_nights(libraries: dict[Reason, int], caps: list[int], page_size: int) -> list[list[tuple[str, str]]]:
    """Return the jobs that each night takes, of libraries whose jobs stay due."""
    jobs = sorted((f"{n:03d}-{reason}", reason) for reason, size in libraries.items() for n in range(size))
    pages = [jobs[start : start + page_size] for start in range(0, len(jobs), page_size)]
    nights: list[list[tuple[str, str]]] = []
    rounds: dict[str, Round] = {}
    for number, most in enumerate(caps):
        one, cursor, taken = Night.begin(number, most, tuple(libraries), rounds), "", list[tuple[str, str]]()
        while not one.ended:
            index = int(cursor or 0)
            chosen = [job for job in pages[index] if job[1] in one.pass_reasons]
            due = [_due(*job) for job in chosen]
            page = DuePage(
                due,
                len(pages[index]),
                str(index + 1) if index + 1 < len(pages) else "",
                pages[index][0][0],
                pages[index][-1][0],
            )
            wanted = sorted(job.place for job in due if one.wants(job))[: max(0, one.limit - len(taken))]
            taken += [(name, name.partition("-")[2]) for name, _ in wanted]
            one, cursor = one.after_page(page, cursor, wanted, len(taken))
        rounds = one.next_rounds
        nights.append(taken)
    return nights


def _due(name: str, reason: Reason) -> Due:
    recipe: Any = SimpleNamespace(name="web")
    return Due(recipe, Listed(name, "", 0, "", datetime.now(UTC)), reason, None)


@pytest.mark.parametrize(("most", "page_size"), [(1, 3), (2, 1), (3, 100), (5, 4), (16, 2), (50, 6), (50, 100)])
def test_every_job_is_taken_within_a_round_and_none_twice_a_night(most: int, page_size: int) -> None:
    libraries: dict[Reason, int] = {"new": 7, "failed": 3, "recipe_changed": 10, "dismissed": 0}
    nights = simulated_nights(libraries, [most] * (220 // most + 3), page_size)
    for taken in nights:
        assert len(taken) == len(set(taken)) == min(most, 20)
    assert len({job for taken in nights for job in taken}) == 20


@pytest.mark.parametrize("page_size", [1, 3, 100])
def test_a_reason_that_is_not_counted_takes_no_job_twice_a_night_either(page_size: int) -> None:
    """The second night wraps around, with room for more jobs than there are."""
    libraries: dict[Reason, int] = {"new": 2, "missing": 10, "failed": 5}
    nights = simulated_nights(libraries, [8, 100, 3, 4, 5, 6], page_size)
    assert [(len(taken), len(set(taken))) for taken in nights] == [(n, n) for n in (8, 17, 3, 4, 5, 6)]


async def test_the_event_about_missed_jobs_counts_only_those_that_an_event_should_have_started(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with open_in_memory(ONE_RECIPE, schedule_max_jobs=10) as memory:
        nights = SimulatedNights(memory.services, SimulatedLibrary(memory.services.recipes, 20))
        assert (await nights.night()).found == 10
        assert "run.missed_jobs_found" not in events(caplog)
        nights.library.lost = {15}
        await nights.night()
        (record,) = [each for each in caplog.records if getattr(each, "event", "") == "run.missed_jobs_found"]
        assert "found 1 jobs" in record.getMessage()
        await upload(memory, 1)
        assert (await night(memory)).found == 1
        assert events(caplog).count("run.missed_jobs_found") == 1, "the event of an upload may be on its way"


@pytest.mark.parametrize("fault", ["row.update runs", "row.create runs", "rows runs", "row.get runs", "queue.send"])
async def test_a_killed_scheduled_run_continues_at_its_page(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each delivery fails at a later call to storage, until the host's next delivery succeeds."""
    monkeypatch.setattr("pipeline.runs.selection.PAGE_SIZE", 3)
    async with open_in_memory(ONE_RECIPE, schedule_max_jobs=7, run_batch_size=2) as memory:
        library = SimulatedLibrary(memory.services.recipes, 20)
        library.lost = {1, 18}
        nights = SimulatedNights(memory.services, library)
        faults = 0

        @contextmanager
        def break_storage() -> Iterator[None]:
            nonlocal faults
            faults += 1
            if faults % 7:
                memory.account.fail(fault, 503, "ServerBusy")
            try:
                yield
            finally:
                memory.account.work_again()

        for start in range(3):
            library.lost |= {2 + start, 17 - start}
            run = await nights.night(break_storage)
            assert (run.state, run.found, run.progress) == ("done", 7, Progress(done=7))
            assert library.lost == set()
        await nights.night()
        assert len(library.done) == 20


async def test_a_cancelled_scheduled_run_leaves_its_round_positions(memory: Memory) -> None:
    await upload(memory, 2)
    run = await memory.services.schedule.start()
    assert run is not None
    await memory.services.runs.cancel(run.id)
    assert (await night(memory)).progress == Progress(done=2)


async def test_positions_of_another_prefix_do_not_count() -> None:
    account, sessions = MemoryAccount(), FakePool()
    async with open_in_memory(ONE_RECIPE, account=account, pool=sessions, schedule_max_jobs=2) as memory:
        await upload(memory, 3, "photos/b")
        assert (await night(memory)).more_due
        assert (await round_nights(memory.services))["missed"] == 1
    settings: dict[str, Any] = {"schedule_max_jobs": 2, "schedule_prefix": "photos/b"}
    async with open_in_memory(ONE_RECIPE, account=account, pool=sessions, **settings) as memory:
        run = await night(memory)
        assert (run.progress, run.more_due) == (Progress(done=1), False)


@pytest.mark.parametrize(("cost", "jobs"), [(0.04, 1), (0.1, 3), (25.0, 10)])
async def test_the_cost_cap_lowers_the_jobs_of_a_night(
    cost: float, jobs: int, caplog: pytest.LogCaptureFixture
) -> None:
    """With `isolation: single`, each job takes a session-hour of 0.03."""
    recipes = ONE_RECIPE.replace("{web: {", "{web: {isolation: single, ")
    async with open_in_memory(recipes, run_max_cost=cost, schedule_max_jobs=10, schedule_reasons="due") as memory:
        await upload(memory, 4)
        run = await night(memory)
        assert (run.most, run.progress, run.more_due) == (jobs, Progress(done=min(jobs, 4)), jobs < 4)
        assert ("run.cost_capped" in events(caplog)) is (jobs < 10)
        assert ("PIPELINE_RUN_MAX_COST" in run.why) is (jobs < 4)


async def test_a_scheduled_run_with_more_due_is_not_resumed() -> None:
    async with open_in_memory(schedule_max_jobs=1) as memory:
        await upload(memory, 2)
        run = await night(memory)
        with pytest.raises(StateConflict, match="more is due"):
            await memory.services.runs.resume(run.id, max_jobs=5)


async def start_an_hour_later(memory: Memory) -> int:
    """Let the timer fire an hour after the start of the last run; return the number of messages of runs."""
    store = memory.services.run_store
    schedule = await store.get("schedule", SCHEDULE_KEY)
    assert schedule is not None
    await store.replace("schedule", SCHEDULE_KEY, schedule, {**schedule.content, "at": schedule.content["at"] - 3700})
    assert await memory.services.schedule.start() is None
    return await memory.services.run_queue.length()


async def test_a_backlog_multiplies_no_messages_of_a_scheduled_run() -> None:
    """Its batches wait for hours, and the timer fires again and again."""
    async with open_in_memory(run_batch_size=1) as memory:
        await upload(memory, 4)
        assert await memory.services.schedule.start() is not None
        (listing,) = await memory.run_messages()
        await memory.services.run_worker.handle_message(listing)
        assert [await start_an_hour_later(memory) for _ in range(3)] == [4, 4, 4]
        assert len(await memory.run_messages()) == 4, "the queue is emptied"
        assert [await start_an_hour_later(memory) for _ in range(3)] == [1, 1, 1]
        (resumption,) = await memory.run_messages()
        await memory.services.run_worker.handle_message(resumption)
        assert [await start_an_hour_later(memory) for _ in range(3)] == [4, 4, 4]


async def test_a_scheduled_run_that_listed_nothing_gets_one_message_an_hour() -> None:
    """Other runs keep the queue busy, so that the loss of the first message cannot be seen there."""
    async with open_in_memory() as memory:
        await upload(memory, 1)
        assert await memory.services.schedule.start() is not None
        await memory.run_messages()
        await memory.services.run_queue.send(RunWork(run="other"))
        assert await memory.services.schedule.start() is None
        assert await memory.services.run_queue.length() == 1, "it has just started"
        assert [await start_an_hour_later(memory) for _ in range(2)] == [2, 3]


@pytest.mark.parametrize("content", [{"run": 7, "at": 7}, {"run": "x", "at": "y"}, {"run": "x", "at": 1e11}, {"at": 7}])
async def test_an_edited_schedule_prevents_no_run(content: dict[str, object]) -> None:
    async with open_in_memory() as memory:
        await memory.services.run_store.create("schedule", SCHEDULE_KEY, content)
        assert await memory.services.schedule.start() is not None
