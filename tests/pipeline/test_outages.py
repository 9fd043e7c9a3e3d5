"""Outages of the pool, of storage and of identity: no attempts are used up, and what is given up is done later."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.errors import PoolFull, PoolUnavailable, SessionLost, TransientError
from pipeline.jobs.retry_policy import MAX_PAUSE_SECONDS, deferral_delay, pause, plan_retry
from pipeline.jobs.session_losses import MAX_UNCOUNTED_LOSSES, WINDOW_SECONDS, SessionLosses
from pipeline.runs import Selection
from pipeline.storage.entry import Entry
from pipeline.storage.queue import Message
from pipeline.testing import memory_settings, pool
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory

NAME = "photos/a.jpg"
DAY = 24 * 3600.0
MESSAGE = Message(recipe="web", container="input", name=NAME)
OUTAGE = PoolUnavailable("away")


async def row(memory: Memory, name: str = NAME) -> Entry:
    entry = await memory.entry("web", name)
    assert entry is not None
    return entry


async def drain(memory: Memory, hours: float) -> int:
    """Deliver the job's messages for that long by the account's clock. Returns their number."""
    delivered = 0
    for _ in range(int(hours * 3600 / MAX_PAUSE_SECONDS)):
        for message in await memory.take():
            await memory.run_queued(message)
            delivered += 1
        memory.account.advance(MAX_PAUSE_SECONDS)
    return delivered


# -- an outage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "kind"), [(pool.UNREACHABLE, "pool_unreachable"), (pool.status(403), "pool_denied")])
async def test_an_outage_of_hours_costs_no_job_and_no_attempt(memory: Memory, fault: pool.Fault, kind: str) -> None:
    """With five attempts it was a failure after five minutes, which nothing retried."""
    await memory.upload(NAME, image_bytes(60, 40))
    memory.pool.fail("POST files", fault, times=10_000)
    await memory.services.dispatcher.handle_blob("input", NAME)
    assert await drain(memory, hours=3) >= 30
    waiting = await row(memory)
    assert (waiting.state, waiting.error_kind, waiting.attempts) == ("queued", kind, 0)
    assert waiting.error_service == "pool"
    assert waiting.service_seconds > 3600
    memory.pool.work_again()
    await drain(memory, hours=0.2)
    done = await row(memory)
    assert (done.state, done.attempts, done.error_service, done.service_seconds) == ("done", 1, "", 0)


@pytest.mark.parametrize("operation", ["blob.get input/", "blob.put output/", "row.create ledger"])
async def test_an_outage_of_storage_costs_no_attempt(memory: Memory, operation: str) -> None:
    await memory.upload(NAME, image_bytes(60, 40))
    memory.account.fail(operation, 503, "ServerBusy", times=12)
    await memory.services.dispatcher.handle_blob("input", NAME)
    await drain(memory, hours=2)
    done = await row(memory)
    assert (done.state, done.attempts) == ("done", 1)


async def test_what_is_given_up_is_a_failure_of_the_service_and_done_by_a_run() -> None:
    async with open_in_memory(give_up_after=3600) as memory:
        await memory.upload(NAME, image_bytes(60, 40))
        memory.pool.fail("POST files", pool.UNREACHABLE, times=10_000)
        await memory.services.dispatcher.handle_blob("input", NAME)
        await drain(memory, hours=3)
        failed = await row(memory)
        assert (failed.state, failed.error_kind, failed.error_service) == ("failed", "pool_unreachable", "pool")
        assert "given up after 1." in failed.error_message
        assert await memory.take() == []
        memory.pool.work_again()
        plan = await memory.services.planner.plan(Selection())
        assert plan.reasons == {"service_failed": 1}


async def test_a_failure_that_cannot_be_recorded_waits_for_storage() -> None:
    async with open_in_memory(give_up_after=0) as memory:
        await memory.upload(NAME, image_bytes(60, 40))
        memory.pool.fail("POST files", pool.UNREACHABLE, times=2)
        memory.account.fail("blob.head input/", 503, "ServerBusy")
        await memory.services.dispatcher.handle_blob("input", NAME)
        assert (await row(memory)).state == "queued"
        await drain(memory, hours=1)
        assert (await row(memory)).state == "done"


async def test_a_permanent_failure_that_cannot_be_recorded_is_requeued(memory: Memory) -> None:
    """Raised to the host, it would use up the five deliveries of the blob trigger within a second."""
    await memory.upload(NAME, image_bytes(60, 40))
    memory.account.fail("blob.get input/", 409, "BlobArchived")
    memory.account.fail("blob.head input/", 503, "ServerBusy")
    await memory.services.dispatcher.handle_blob("input", NAME)
    await drain(memory, hours=1)
    assert (await row(memory)).state == "done"


# -- the policy ------------------------------------------------------------------------------------------------------


def outage(service_seconds: float, elapsed: float = 1, error: TransientError = OUTAGE) -> tuple[float, float] | None:
    """Return the time lost afterwards, and the delay."""
    message = MESSAGE.model_copy(update={"service_seconds": service_seconds, "attempt": 4})
    retry = plan_retry(memory_settings(requeue_delay=10), message, error, elapsed)
    if retry is None:
        return None
    assert retry.message.attempt == 4
    return retry.message.service_seconds, retry.delay


def test_a_pause_doubles_up_to_five_minutes_and_counts() -> None:
    settings = memory_settings(requeue_delay=10)
    for lost, shortest, longest in [(0, 7.5, 12.5), (40, 30, 50), (160, 120, 200), (9000, 180, MAX_PAUSE_SECONDS)]:
        assert shortest <= pause(settings, lost) <= longest
    first = outage(0)
    assert first
    assert first[0] == pytest.approx(1 + first[1], abs=0.01)


def test_a_day_of_faults_is_the_end() -> None:
    assert outage(DAY - 2)
    assert outage(DAY - 1) is None


@pytest.mark.parametrize(("requested", "shortest", "longest"), [(60, 60, 75), (290, 290, 300), (3600, 300, 300)])
def test_retry_after_is_honored_up_to_five_minutes(requested: float, shortest: float, longest: float) -> None:
    result = outage(0, error=PoolUnavailable("away", retry_after=requested))
    assert result
    assert shortest <= result[1] <= longest


def test_a_full_pool_is_asked_when_it_says_so() -> None:
    settings = memory_settings(requeue_delay=10)
    assert deferral_delay(settings, PoolFull("full")) <= 12.5
    assert 100 <= deferral_delay(settings, PoolFull("full", retry_after=100)) <= 125


def test_a_bounded_refusal_uses_up_an_attempt() -> None:
    error = PoolUnavailable("?", kind="pool_refused", bounded=True)
    retry = plan_retry(memory_settings(max_attempts=2), MESSAGE, error, 1)
    assert retry
    assert (retry.message.attempt, retry.message.service_seconds) == (1, 0)
    assert plan_retry(memory_settings(max_attempts=2), retry.message, error, 1) is None


def test_an_uncounted_loss_uses_up_no_attempt() -> None:
    retry = plan_retry(memory_settings(max_attempts=1), MESSAGE, SessionLost("lost"), 1)
    assert retry
    assert (retry.message.attempt, retry.message.losses, retry.message.service_seconds) == (0, 1, 0)


# -- lost sessions ---------------------------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_loss_counts_unless_others_lost_sessions_within_the_minute(clock: Clock) -> None:
    losses = SessionLosses(clock)
    losses.record("000.1", "a")
    assert losses.counts("a", 0)
    losses.record("001.1", "b")
    assert not losses.counts("a", 0)
    clock.now += WINDOW_SECONDS + 1
    losses.record("002.1", "a")
    assert losses.counts("a", 0)


def test_companions_in_the_same_session_are_no_excuse(clock: Clock) -> None:
    """The image that kills its session takes the others in it along; alone in the next one, the loss is its own."""
    losses = SessionLosses(clock)
    for name in ("a", "b", "c"):
        losses.record("000.1", name)
    losses.record("001.1", "a")
    assert losses.counts("a", 0)


def test_after_five_uncounted_losses_a_loss_counts(clock: Clock) -> None:
    losses = SessionLosses(clock)
    losses.record("000.1", "a")
    losses.record("001.1", "b")
    assert not losses.counts("a", MAX_UNCOUNTED_LOSSES - 1)
    assert losses.counts("a", MAX_UNCOUNTED_LOSSES)


async def test_a_pool_that_replaces_its_sessions_fails_no_image() -> None:
    async with open_in_memory(pool_max_sessions=4, session_concurrency=1) as memory:
        names = [f"photos/{number}.jpg" for number in range(4)]
        for number, name in enumerate(names):
            await memory.upload(name, image_bytes(60, 40, seed=number))
        memory.pool.fail("POST executions", pool.DIED, times=8)
        await asyncio.gather(*(memory.services.dispatcher.handle_blob("input", name) for name in names))
        assert {(await row(memory, name)).state for name in names} == {"queued"}
        await drain(memory, hours=1)
        assert {((each := await row(memory, name)).state, each.attempts) for name in names} == {("done", 1)}


async def test_an_image_that_always_loses_its_session_fails_in_the_end() -> None:
    """Even if others lose theirs each time."""
    async with open_in_memory() as memory:
        await memory.upload(NAME, image_bytes(60, 40))
        memory.pool.fail("POST executions", pool.DIED, times=10_000)
        memory.services.executor.losses.record("999.1", "other")
        await memory.services.dispatcher.handle_blob("input", NAME)
        assert (await row(memory)).state == "queued"
        await drain(memory, hours=10)
        failed = await row(memory)
        assert (failed.state, failed.error_kind, failed.error_service) == ("failed", "session_died", "")
        assert memory.pool.calls.count("POST executions") == 2 * (1 + MAX_UNCOUNTED_LOSSES)


# -- runs ------------------------------------------------------------------------------------------------------------


async def test_an_outage_during_a_run_costs_no_attempt() -> None:
    async with open_in_memory(max_attempts=2) as memory:
        for number in range(3):
            await memory.upload(f"photos/{number}.jpg", image_bytes(60, 40, seed=number))
        run = await memory.services.runs.start(Selection(recipes=("web",)), expected_count=3)
        memory.pool.fail("POST files", pool.UNREACHABLE, times=10_000)
        await deliver_run(memory, times=8)
        assert (await row(memory, "photos/0.jpg")).state == "queued"
        memory.pool.work_again()
        await deliver_run(memory, times=2)
        assert (await memory.services.runs.get(run.id)).progress.done == 3
        assert (await row(memory, "photos/0.jpg")).attempts == 1


async def test_an_outage_of_storage_requeues_the_messages_of_a_run() -> None:
    """Raised to the host, five deliveries would end as failures of jobs that nothing is wrong with."""
    async with open_in_memory(max_attempts=2) as memory:
        await memory.upload(NAME, image_bytes(60, 40))
        run = await memory.services.runs.start(Selection(recipes=("web",)), expected_count=1)
        memory.account.fail("row.get runs", 503, "ServerBusy", times=6)
        memory.account.fail("row.update runs", 503, "ServerBusy", times=3)
        await deliver_run(memory, times=12)
        assert (await memory.services.runs.get(run.id)).progress.done == 1


async def test_a_run_gives_up_jobs_too() -> None:
    async with open_in_memory(give_up_after=0) as memory:
        await memory.upload(NAME, image_bytes(60, 40))
        run = await memory.services.runs.start(Selection(recipes=("web",)), expected_count=1)
        memory.pool.fail("POST files", pool.UNREACHABLE, times=10_000)
        await deliver_run(memory, times=3)
        assert (await memory.services.runs.get(run.id)).progress.failed == 1
        failed = await row(memory)
        assert (failed.error_service, failed.run) == ("pool", run.id)


async def test_a_batch_whose_failures_cannot_be_recorded_waits_for_storage() -> None:
    """As a dead letter, it would become failures without a service, which no run retries."""
    async with open_in_memory(give_up_after=0) as memory:
        await memory.upload(NAME, image_bytes(60, 40))
        run = await memory.services.runs.start(Selection(recipes=("web",)), expected_count=1)
        await deliver_run(memory, times=1)
        memory.account.fail("row.get runs", 503, "ServerBusy", times=4)
        memory.account.fail("rows runs", 503, "ServerBusy", times=4)
        await deliver_run(memory, times=12)
        assert (await memory.services.runs.get(run.id)).progress.done == 1


async def deliver_run(memory: Memory, times: int) -> None:
    """Deliver the run's messages as often as that, each after the longest pause."""
    for _ in range(times):
        memory.account.advance(MAX_PAUSE_SECONDS)
        for body in await memory.run_messages():
            await memory.services.run_worker.handle_message(body)
