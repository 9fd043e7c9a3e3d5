"""Lost messages are sent again within two passes of the timer, and a backlog or a pause never multiplies messages."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.data.tables import UpdateMode

from pipeline.errors import PoolUnavailable
from pipeline.jobs import lost_messages as job_recovery
from pipeline.jobs.circuit_breaker import SOURCES_TO_OPEN, Attempt
from pipeline.jobs.lost_messages import JobMessageRecovery
from pipeline.runs import Run, Selection
from pipeline.runs import lost_messages as recovery
from pipeline.runs.model import Progress, key_of
from pipeline.storage import JobKey, Message, WaitingJob
from pipeline.storage.queue_incarnations import MARK
from pipeline.testing import pool
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory
from tests.stack import Stack

UPLOADS = "azure-webjobs-blobtrigger-photos"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every row as old enough."""
    monkeypatch.setattr(job_recovery, "GRACE", timedelta(seconds=-1))
    monkeypatch.setattr(job_recovery, "ABANDONED_AGE", timedelta(seconds=-1))
    monkeypatch.setattr(recovery, "GRACE", timedelta(seconds=-1))


async def queued(memory: Memory, count: int = 3) -> list[str]:
    """Upload images and queue their jobs, oldest first."""
    names = [f"photos/{number}.jpg" for number in range(count)]
    for name in names:
        await memory.upload(name, image_bytes(60, 40))
        await memory.services.jobs.submit(Message(recipe="web", container="input", name=name))
    return names


async def tick(memory: Memory) -> int:
    """Run the timer; return the number of messages in the job queue."""
    await memory.services.lost_messages.recover()
    return await memory.waiting_messages()


async def lose(memory: Memory, queue: str) -> None:
    await memory.account.queue(queue).delete_queue()


async def work(memory: Memory) -> None:
    """Process the job queue, delayed messages included, until it is empty."""
    memory.account.advance(4000)
    while messages := await memory.take():
        for message in messages:
            await memory.run_queued(message)
        memory.account.advance(4000)


async def states(memory: Memory, names: Sequence[str]) -> set[str]:
    rows = [await memory.entry("web", name) for name in names]
    return {row.state if row else "none" for row in rows}


# -- jobs ------------------------------------------------------------------------------------------------------------


async def test_the_jobs_of_a_deleted_queue_are_queued_again(memory: Memory) -> None:
    assert await tick(memory) == 0
    names = await queued(memory)
    await lose(memory, "jobs")
    assert await tick(memory) == 3, "the queue is created again, and each job has a message"
    for _ in range(3):
        assert await tick(memory) == 3, "no job gets a second message"
    await work(memory)
    assert await states(memory, names) == {"done"}


async def test_a_deleted_queue_of_azurite_is_recovered(stack: Stack) -> None:
    services = stack.services
    await services.lost_messages.recover()
    await stack.upload("photos/a.jpg", image_bytes(60, 40))
    message = Message(recipe="web", container=services.settings.input_container, name="photos/a.jpg")
    await services.jobs.submit(message)
    await services.account.queue(services.settings.job_queue).delete_queue()
    for _ in range(2):
        await services.lost_messages.recover()
        assert await stack.waiting_messages() == 1
    (job,) = [job async for page in services.lost_messages.jobs.waiting.queued(datetime.now(UTC)) for job in page]
    assert job.resent_at > job.since


@pytest.mark.usefixtures("at_once")
async def test_lost_queue_of_http_jobs(memory: Memory) -> None:
    """Images of requests are in no listing: only their rows tell of them."""
    settings = memory.services.settings
    await memory.services.sources.put(settings.upload_container, "abc/one.jpg", image_bytes(500, 500), "image/jpeg")
    message = Message(recipe="tutorial", container=settings.upload_container, name="abc/one.jpg")
    key = await memory.services.jobs.submit(message)
    assert len(await memory.take()) == 1, "the queue is emptied"
    assert await tick(memory) == 1
    (resent,) = await memory.take()
    assert resent["requested"], "a pause of requests holds for it"
    await memory.run_queued(resent)
    assert (await memory.services.jobs.get(key)).state == "done"


@pytest.mark.usefixtures("at_once")
async def test_a_pause_multiplies_no_messages(memory: Memory) -> None:
    """A pause, a breaker and a full pool send a message back with a delay, and leave the row as it is."""
    await queued(memory, 5)
    await memory.services.admission.pauses.pause(["uploads"])
    for _ in range(20):
        for message in await memory.take():
            await memory.run_queued(message)
        assert await tick(memory) == 5
        memory.account.advance(300)


@pytest.mark.usefixtures("at_once")
async def test_a_resent_message_keeps_the_time_lost_to_services(memory: Memory) -> None:
    """Otherwise, a queue that is lost during an outage would start PIPELINE_GIVE_UP_AFTER anew."""
    await queued(memory, 1)
    memory.pool.fail("POST", pool.UNREACHABLE, times=1000)
    for _ in range(3):
        memory.account.advance(4000)
        (message,) = await memory.take()
        await memory.run_queued(message)
    memory.account.advance(4000)
    (message,) = await memory.take()
    assert await tick(memory) == 1
    (resent,) = await memory.take()
    # The row tells the time of the attempts and pauses before the last attempt.
    assert 0 < resent["service_seconds"] <= message["service_seconds"]


@pytest.mark.usefixtures("at_once")
async def test_a_full_pool_multiplies_no_messages(memory: Memory) -> None:
    await queued(memory, 5)
    memory.pool.fail("POST", pool.FULL, times=1000)
    for _ in range(10):
        for message in await memory.take():
            await memory.run_queued(message)
        assert await tick(memory) == 5
        memory.account.advance(4000)


async def test_new_jobs_get_no_second_message(memory: Memory) -> None:
    await queued(memory)
    await memory.take()
    assert await tick(memory) == 0, "their messages may be about to be sent"


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("seed", range(5))
async def test_any_lost_messages_are_found_when_the_queue_is_empty(memory: Memory, seed: int) -> None:
    chance = random.Random(seed)
    names = await queued(memory, 8)
    lost = chance.randint(1, 8)
    store = memory.account.store
    for message in chance.sample(store.messages, lost):
        store = store.without(message)
    memory.account.store = store
    assert await tick(memory) == 8, "as many messages are sent as are missing, though perhaps to other jobs"
    await work(memory)
    assert await tick(memory) <= lost
    await work(memory)
    assert await states(memory, names) == {"done"}


@pytest.mark.usefixtures("at_once")
async def test_the_job_of_a_dead_worker_is_queued_again(memory: Memory) -> None:
    """Its message is lost with the queue, and its row has not been `queued` at the loss."""
    (name,) = await queued(memory, 1)
    await memory.take()
    assert await tick(memory) == 1
    await memory.take()
    row = await memory.entry("web", name)
    assert row is not None
    claim = await memory.services.ledger.claim(row.key, ("input", name), row.version, never)
    assert not isinstance(claim, type(row))
    await claim.renew()
    assert await tick(memory) == 0, "its worker is alive"
    memory.expire_claims()
    assert await tick(memory) == 1
    await work(memory)
    assert await states(memory, [name]) == {"done"}


async def never() -> bool:
    raise AssertionError


async def test_one_pass_is_bounded_and_takes_the_oldest(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    await tick(memory)
    monkeypatch.setattr(job_recovery, "MAX_MESSAGES", 2)
    names = await queued(memory, 5)
    await lose(memory, "jobs")
    assert await tick(memory) == 2
    bodies = [each.body.decode() for each in memory.account.store.messages]
    assert all(name in "".join(bodies) for name in names[:2])
    assert await tick(memory) == 4
    assert await tick(memory) == 5
    assert await tick(memory) == 5


@pytest.mark.usefixtures("at_once")
async def test_a_dead_letter_is_no_loss(memory: Memory) -> None:
    """A dead letter waits in its own queue until its failure is recorded."""
    await queued(memory, 1)
    (message,) = await memory.take()
    poison = memory.account.queue("jobs-poison")
    await poison.create_queue()
    await poison.send_message(Message(**message).model_dump_json().encode())
    assert await tick(memory) == 0


@pytest.mark.usefixtures("at_once")
async def test_jobs_of_a_run_wait_with_their_batches(memory: Memory) -> None:
    run = await started(memory)
    memory.pool.fail("POST", pool.FULL, times=50)
    for body in await memory.run_messages():
        await memory.services.run_worker.handle_message(body)
    for body in await memory.run_messages():
        await memory.services.run_worker.handle_message(body)
    assert await states(memory, ["photos/0.jpg"]) == {"queued"}
    assert await tick(memory) == 0
    await memory.services.runs.cancel(run.id)
    assert await tick(memory) == 0, "a cancelled run starts no job"


@pytest.mark.usefixtures("at_once")
async def test_jobs_of_a_stopped_scheduled_run_start_again(memory: Memory) -> None:
    """A deployment with other recipes stops a scheduled run, and nobody resumes it."""
    await memory.upload("photos/0.jpg", image_bytes(60, 40))
    run = await memory.services.schedule.start()
    assert run
    memory.pool.fail("POST", pool.FULL, times=50)
    for _ in range(2):
        for body in await memory.run_messages():
            await memory.services.run_worker.handle_message(body)
    assert await states(memory, ["photos/0.jpg"]) == {"queued"}
    assert await tick(memory) == 0
    await memory.services.runs.stop(run.id, "the app has another version of the recipe")
    assert await tick(memory) == 1


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("operation", ["row", "queue", "queue.send", "rows", "place.create"])
async def test_a_fault_of_storage_delays_the_recovery(memory: Memory, operation: str) -> None:
    await tick(memory)
    names = await queued(memory)
    await lose(memory, "jobs")
    for fault in range(8):
        memory.account.fail(operation, 503, "ServerBusy", times=fault % 3 + 1)
        await memory.services.lost_messages.recover()
    memory.account._faults.clear()
    object.__setattr__(memory.services.lost_messages.jobs, "claim_ttl", -1)
    await tick(memory)
    assert await tick(memory) == 3, "each job has one message, or another job has its message"
    await work(memory)
    await tick(memory)
    await work(memory)
    assert await states(memory, names) == {"done"}


async def edit_rows(memory: Memory, **columns: Any) -> None:
    """Change columns of the jobs' own rows by hand."""
    table = memory.account.table("ledger")
    async for row in table.query_entities("RowKey lt @lists", parameters={"lists": "~"}):
        changes = {"PartitionKey": row["PartitionKey"], "RowKey": row["RowKey"], **columns}
        await table.submit_transaction([("update", changes, {"mode": UpdateMode.MERGE})])


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("columns", [{"state": "done"}, {"state": "done", "listed": ""}])
async def test_list_rows_of_no_job_send_no_messages_without_end(memory: Memory, columns: dict[str, str]) -> None:
    await queued(memory, 1)
    await memory.take()
    await edit_rows(memory, **columns)
    counts = []
    for _ in range(4):
        counts.append(await tick(memory))
        await work(memory)
    assert counts == [1, 0, 0, 0]


@pytest.mark.usefixtures("at_once")
async def test_a_job_whose_second_worker_died_too_stays_listed(memory: Memory) -> None:
    """A claim moves the list row of a running job with its first heartbeat only."""
    await queued(memory, 1)
    entry = await memory.entry("web", "photos/0.jpg")
    assert entry is not None
    (listed,) = [
        job async for page in memory.services.lost_messages.jobs.waiting.queued(datetime.now(UTC)) for job in page
    ]
    await edit_rows(memory, state="running", since=entry.since + timedelta(seconds=9))
    assert await memory.services.lost_messages.jobs.waiting.confirm(listed)


@pytest.mark.usefixtures("at_once")
async def test_jobs_of_a_former_container_are_not_sent_again(memory: Memory) -> None:
    await queued(memory, 1)
    await memory.take()
    object.__setattr__(memory.services.lost_messages.jobs, "containers", ("other", "uploads"))
    assert await tick(memory) == 0


async def test_a_queue_that_could_not_be_marked_is_recovered_again(memory: Memory) -> None:
    await tick(memory)
    await lose(memory, "jobs")
    memory.account.fail("queue.metadata jobs", 503, "ServerBusy")
    await tick(memory)
    await queued(memory, 1)
    await tick(memory)
    metadata = (await memory.account.queue("jobs").get_queue_properties()).metadata
    document = await memory.services.run_store.get("queue", "jobs")
    assert document is not None
    assert metadata == {MARK: document.content["mark"]}


async def test_the_metadata_of_others_is_kept(memory: Memory) -> None:
    await memory.account.queue("jobs").set_queue_metadata({"team": "photos"})
    await tick(memory)
    metadata = (await memory.account.queue("jobs").get_queue_properties()).metadata
    assert metadata["team"] == "photos"
    assert set(metadata) == {"team", MARK}


async def test_a_recovery_ends(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    await tick(memory)
    await lose(memory, "jobs")
    await tick(memory)
    document = await memory.services.run_store.get("queue", "jobs")
    assert document is not None
    assert "lost_at" in document.content, "workers may still hold claims"
    object.__setattr__(memory.services.lost_messages.jobs, "claim_ttl", -1)
    await tick(memory)
    document = await memory.services.run_store.get("queue", "jobs")
    assert document is not None
    assert "lost_at" not in document.content


async def test_a_deleted_queue_is_created_by_the_next_message(memory: Memory) -> None:
    await lose(memory, "jobs")
    await queued(memory, 1)
    assert await memory.waiting_messages() == 1


class Backlog:
    """A queue, and the list of waiting jobs, counted: jobs leave both at a constant rate."""

    def __init__(self, jobs: int) -> None:
        start = datetime.now(UTC) - timedelta(hours=3)
        self.jobs = [
            WaitingJob(JobKey("web", f"{n}"), f"{n}", "input", f"{n}", start + timedelta(milliseconds=n))
            for n in range(jobs)
        ]
        self.messages, self.sent = jobs, 0

    async def queued(self, before: datetime) -> AsyncIterator[list[WaitingJob]]:
        for end in range(len(self.jobs), 0, -1000):
            yield self.jobs[max(0, end - 1000) : end]

    async def abandoned(self, before: datetime, now: datetime) -> AsyncIterator[list[WaitingJob]]:
        yield []

    async def mark_resent(self, jobs: Sequence[WaitingJob], moment: datetime) -> None:
        resent = {job.list_key for job in jobs}
        self.jobs = [replace(job, resent_at=moment) if job.list_key in resent else job for job in self.jobs]

    async def length(self, *, missing_ok: bool = False) -> int:
        return 0 if missing_ok else self.messages

    async def send(self, message: Message, delay: float = 0) -> None:
        self.messages += 1
        self.sent += 1

    def work(self, count: int) -> None:
        """End jobs. A message of a job that has ended is a no-op and goes away, too."""
        del self.jobs[:count]
        self.messages = max(0, self.messages - count)


async def no_run(run: str) -> bool:
    return False


async def test_a_backlog_of_two_hours_sends_no_extra_messages() -> None:
    backlog: Any = Backlog(100_000)
    jobs = JobMessageRecovery(backlog, backlog, backlog, ("input",), "uploads", 60, no_run)
    for _ in range(24):  # a pass every five minutes
        await jobs.recover_missing()
        backlog.work(100_000 // 24)
    assert backlog.sent <= 2_000, "2 %"
    assert backlog.sent == 0


async def test_a_backlog_that_lost_messages_gets_as_many_again() -> None:
    backlog: Any = Backlog(30_000)
    jobs = JobMessageRecovery(backlog, backlog, backlog, ("input",), "uploads", 60, no_run)
    backlog.messages -= 25_000
    assert await jobs.recover_missing() == job_recovery.MAX_MESSAGES
    assert await jobs.recover_missing() == 5_000
    for _ in range(10):
        assert await jobs.recover_missing() == 0


# -- uploads without rows --------------------------------------------------------------------------------------------


async def refuse_uploads(memory: Memory, refused_by: str) -> None:
    """Open the breaker of the pool for an hour, or pause uploads."""
    if refused_by == "pause":
        await memory.services.admission.pauses.pause(["uploads"])
        return
    breaker = memory.services.admission.breakers["pool"]
    breaker.first_interval = 3600.0
    for number in range(SOURCES_TO_OPEN):
        breaker.record_fault(Attempt(), f"{number}", PoolUnavailable("the pool is away"))
    assert breaker.seconds_to_probe


@pytest.mark.parametrize("refused_by", ["breaker", "pause"])
@pytest.mark.parametrize("changed", [False, True], ids=["new", "changed"])
async def test_uploads_that_were_refused_survive_the_loss_of_the_queue(
    memory: Memory, refused_by: str, *, changed: bool
) -> None:
    """They wait in the job queue before their first claim. A changed source has the row of its last job."""
    name, services = "photos/a.jpg", memory.services
    await tick(memory)
    if changed:
        await memory.upload(name, image_bytes(60, 40))
        await services.dispatcher.handle_blob("input", name)
    await refuse_uploads(memory, refused_by)
    etag = await memory.upload(name, image_bytes(40, 60))
    await services.dispatcher.handle_blob("input", name)
    await lose(memory, "jobs")
    await tick(memory)
    assert await runs_of(memory) == [], "claims of dead workers may not have expired"
    object.__setattr__(services.lost_messages.jobs, "claim_ttl", -1)
    for _ in range(3):
        await tick(memory)
    assert len(await runs_of(memory)) == (0 if refused_by == "pause" else 1), "not while uploads are paused"
    services.admission.breakers["pool"].record_success()
    await services.admission.pauses.resume(["uploads"])
    for _ in range(3):
        await tick(memory)
    await work(memory)
    await memory.process_messages()
    row = await memory.entry("web", name)
    assert row is not None
    assert (row.state, row.version.etag) == ("done", etag)
    assert len(await runs_of(memory)) == 1, "one loss starts one run"
    document = await services.run_store.get("queue", "jobs")
    assert document is not None
    assert "lost_at" not in document.content


@pytest.mark.usefixtures("at_once")
async def test_messages_that_are_lost_while_uploads_are_paused_are_found(memory: Memory) -> None:
    """The loss of the queue stays recorded until a scheduled run starts, after the pause."""
    await tick(memory)
    await memory.services.admission.pauses.pause(["uploads"])
    await lose(memory, "jobs")
    object.__setattr__(memory.services.lost_messages.jobs, "claim_ttl", -1)
    await tick(memory)
    await queued(memory, 2)
    await memory.take()
    assert await tick(memory) == 2
    assert await tick(memory) == 2


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("refused_by", ["breaker", "pause"])
async def test_refused_uploads_are_listed_and_missed_in_an_emptied_queue(memory: Memory, refused_by: str) -> None:
    await refuse_uploads(memory, refused_by)
    names = ["photos/a.jpg", "photos/b.jpg"]
    for name in names:
        await memory.upload(name, image_bytes(60, 40))
        await memory.services.dispatcher.handle_blob("input", name)
    assert await states(memory, names) == {"queued"}
    for _ in range(5):
        memory.account.advance(4000)
        for message in await memory.take():
            assert message.get("listed"), "its row is written once"
            await memory.run_queued(message)
    waiting = await memory.waiting_messages()
    memory.account.advance(4000)
    await memory.take()
    assert await tick(memory) == waiting


async def test_an_outdated_instance_lists_no_upload() -> None:
    async with open_in_memory() as memory:
        pauses = memory.services.admission.pauses
        await pauses.raise_minimum_version(pauses._version)
        pauses._version = "0.0.1"
        await memory.upload("photos/a.jpg", image_bytes(60, 40))
        await memory.services.dispatcher.handle_blob("input", "photos/a.jpg")
        assert await memory.entry("web", "photos/a.jpg") is None
        assert await memory.waiting_messages() == 1


# -- runs ------------------------------------------------------------------------------------------------------------


async def started(memory: Memory, count: int = 3) -> Run:
    """Upload sources and start a run of them."""
    for number in range(count):
        await memory.upload(f"photos/{number}.jpg", image_bytes(60, 40))
    return await memory.services.runs.start(Selection(recipes=("web",)), expected_count=count)


@pytest.mark.parametrize("listed", [False, True], ids=["before the listing", "before the batches"])
async def test_the_run_of_a_deleted_queue_goes_on(memory: Memory, *, listed: bool) -> None:
    await tick(memory)
    run = await started(memory)
    if listed:
        for body in await memory.run_messages():
            await memory.services.run_worker.handle_message(body)
    await lose(memory, "runs")
    await tick(memory)
    assert await memory.process_messages() == (1 if listed else 2)
    run = await memory.services.runs.get(run.id)
    assert (run.state, run.progress) == ("done", Progress(done=3))
    await tick(memory)
    assert await memory.process_messages() == 0


@pytest.mark.usefixtures("at_once")
async def test_the_run_of_an_emptied_queue_goes_on(memory: Memory) -> None:
    run = await started(memory)
    assert len(await memory.run_messages()) == 1
    await tick(memory)
    await memory.process_messages()
    assert (await memory.services.runs.get(run.id)).progress == Progress(done=3)


@pytest.mark.usefixtures("at_once")
async def test_a_run_whose_row_was_edited_stops_no_other(memory: Memory) -> None:
    """The key of the row decides the id of the run."""
    first, other = await started(memory), await started(memory)
    assert len(await memory.run_messages()) == 2
    for run, changed in ((first, "no-such-run"), (other, first.id)):
        document = await memory.services.run_store.get("run", key_of(run.id))
        assert document is not None
        await memory.services.run_store.replace("run", key_of(run.id), document, {**document.content, "id": changed})
    await memory.account.queue(UPLOADS).create_queue()
    await tick(memory)
    await lose(memory, UPLOADS)
    await tick(memory)
    assert len(await runs_of(memory)) == 3, "the scheduled run starts, too"
    await memory.process_messages()
    for run in (first, other):
        ended = await memory.services.runs.get(run.id)
        assert (ended.id, ended.state, ended.progress.total) == (run.id, "done", 3)
    assert {run.id for run in await runs_of(memory)} >= {first.id, other.id}


@pytest.mark.usefixtures("at_once")
async def test_an_unexpected_error_of_one_queue_stops_no_other(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    await started(memory)
    await memory.run_messages()

    async def crash(before: datetime) -> AsyncIterator[list[WaitingJob]]:
        raise ValueError("a bug")
        yield []

    monkeypatch.setattr(memory.services.lost_messages.jobs.waiting, "queued", crash)
    await tick(memory)
    assert len(await memory.run_messages()) == 1


@pytest.mark.usefixtures("at_once")
async def test_a_run_whose_messages_wait_is_left_alone(memory: Memory) -> None:
    await started(memory)
    for _ in range(5):
        await tick(memory)
    assert len(await memory.run_messages()) == 1


async def test_the_messages_of_a_large_run_are_sent_in_pieces(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    object.__setattr__(memory.services.settings, "run_batch_size", 1)
    await tick(memory)
    run = await started(memory, 5)
    for body in await memory.run_messages():
        await memory.services.run_worker.handle_message(body)
    await lose(memory, "runs")
    monkeypatch.setattr(recovery, "MAX_BATCHES", 2)
    counts = []
    for _ in range(4):
        await tick(memory)
        bodies = await memory.run_messages()
        counts.append(len(bodies))
        for body in bodies:
            await memory.services.run_worker.handle_message(body)
    assert counts == [2, 2, 1, 0]
    assert (await memory.services.runs.get(run.id)).progress == Progress(done=5)


# -- the blob trigger's queue ----------------------------------------------------------------------------------------


async def runs_of(memory: Memory) -> list[Run]:
    return (await memory.services.runs.list_runs())[0]


@pytest.mark.parametrize("created_again", [False, True])
async def test_the_lost_queue_of_the_blob_trigger_starts_the_scheduled_run(
    memory: Memory, *, created_again: bool
) -> None:
    await memory.account.queue(UPLOADS).create_queue()
    await tick(memory)
    assert await runs_of(memory) == [], "a new queue is no loss"
    await memory.upload("photos/a.jpg", image_bytes(60, 40))
    await lose(memory, UPLOADS)
    if created_again:
        await memory.account.queue(UPLOADS).create_queue()
    await tick(memory)
    (run,) = await runs_of(memory)
    assert run.scheduled
    await memory.process_messages()
    assert await states(memory, ["photos/a.jpg"]) == {"done"}
    if not created_again:
        await memory.account.queue(UPLOADS).create_queue()
    for _ in range(3):
        await tick(memory)
    assert len(await runs_of(memory)) == 1, "one loss starts one run"


async def test_a_loss_during_a_scheduled_run_starts_the_next_one(memory: Memory) -> None:
    await memory.account.queue(UPLOADS).create_queue()
    await tick(memory)
    await memory.services.schedule.start()
    await lose(memory, UPLOADS)
    schedule = await memory.services.run_store.get("schedule", "run")
    assert schedule is not None
    assert await memory.services.run_store.replace("schedule", "run", schedule, {**schedule.content, "at": 0})
    for _ in range(3):
        await tick(memory)
    assert len(await runs_of(memory)) == 1, "the run is still working"
    assert len(memory.account.store.messages) == 1, "its messages are not sent again, however long it works"
    await memory.process_messages()
    schedule = await memory.services.run_store.get("schedule", "run")
    assert schedule is not None
    await memory.services.run_store.replace("schedule", "run", schedule, {**schedule.content, "at": 0})
    await tick(memory)
    assert len(await runs_of(memory)) == 2
