"""Faults of the pool and of storage while a job executes: retries, backpressure, failures and fencing, in memory."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from pipeline.errors import JobSuperseded, PipelineError, SourceError, StorageUnavailable
from pipeline.jobs.retry_policy import MAX_DELAY_SECONDS, retry_delay
from pipeline.storage.ledger import Entry
from pipeline.storage.queue import Message, mark_unreadable
from pipeline.testing import NO_RESPONSE, FakePool, MemoryAccount, memory_settings, pool
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory

NAME = "photos/a.jpg"


async def upload(memory: Memory, data: bytes | None = None) -> Entry | None:
    """Upload a source and handle its event: the row of its job."""
    await memory.upload(NAME, image_bytes(60, 40) if data is None else data)
    await memory.services.dispatcher.handle_blob("input", NAME)
    return await memory.entry("web", NAME)


async def row(memory: Memory) -> Entry:
    entry = await memory.entry("web", NAME)
    assert entry is not None
    return entry


def state(entry: Entry | None) -> tuple[str, str, int]:
    """Return state, error kind and attempts of a row that must be there."""
    assert entry is not None
    return entry.state, entry.error_kind, entry.attempts


# -- the session pool ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [pool.TIMED_OUT, pool.DIED, pool.BROKEN_OFF], ids=["timeout", "killed", "broken"])
async def test_a_lost_session_is_replaced_once(memory: Memory, fault: pool.Fault) -> None:
    memory.pool.fail("POST executions", fault)
    assert state(await upload(memory)) == ("done", "", 1)
    assert memory.pool.calls.count("DELETE session") == 1, "the lost session is ended"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(pool.TIMED_OUT, "execution_timeout"), (pool.DIED, "session_died"), (pool.BROKEN_OFF, "session_lost")],
)
async def test_two_lost_sessions_are_a_failure(memory: Memory, fault: pool.Fault, kind: str) -> None:
    memory.pool.fail("POST executions", fault, times=2)
    entry = await upload(memory)
    assert state(entry) == ("failed", kind, 1)
    assert entry is not None
    assert entry.stage == "execute"
    assert await memory.take() == [], "a failure is not retried"
    assert await memory.outputs() == {}


async def test_a_replaced_session_gets_the_files_again(memory: Memory) -> None:
    await upload(memory)
    memory.pool.calls.clear()
    memory.pool.fail("POST executions", pool.REPLACED)
    assert state(await upload(memory, image_bytes(50, 40))) == ("done", "", 1)
    # The source before and after the loss, and the engine once.
    assert memory.pool.calls.count("POST files") == 3


async def test_a_session_that_loses_its_files_each_time_fails(memory: Memory) -> None:
    memory.pool.fail("POST executions", pool.REPLACED, times=99)
    assert state(await upload(memory)) == ("failed", "session_replaced", 1)


async def test_a_full_pool_requeues_without_an_attempt(memory: Memory) -> None:
    memory.pool.fail("POST files", pool.FULL, times=9)
    assert state(await upload(memory)) == ("queued", "pool_full", 0)
    (message,) = await memory.take()
    assert message == {"recipe": "web", "container": "input", "name": NAME}


async def test_no_free_slot_requeues_without_an_attempt() -> None:
    account, sessions = MemoryAccount(), FakePool()
    async with (
        open_in_memory(account=account, pool=sessions, pool_max_sessions=1) as holder,
        open_in_memory(account=account, pool=sessions, pool_max_sessions=1, slot_acquire_timeout=0.1) as late,
        holder.services.scheduler.acquire_slot("shared"),
    ):
        assert state(await upload(late)) == ("queued", "pool_full", 0)
        assert len(await late.messages()) == 1
        assert sessions.calls == [], "no call was made to the pool"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (pool.THROTTLED, "pool_unavailable"),
        (pool.UNREACHABLE, "pool_unreachable"),
        (pool.status(403), "pool_denied"),
        (pool.status(404), "pool_not_found"),
    ],
)
async def test_an_unavailable_pool_uses_up_no_attempt(memory: Memory, fault: pool.Fault, kind: str) -> None:
    memory.pool.fail("POST files", fault, times=2)
    assert state(await upload(memory)) == ("queued", kind, 0)
    (message,) = await memory.take()
    assert message.get("attempt", 0) == 0
    await memory.services.dispatcher.execute_message(Message(**message))
    assert state(await row(memory)) == ("done", "", 1)


async def test_the_last_attempt_ends_as_a_failure() -> None:
    """An answer that the pool does not document: the cause is unknown, so attempts are counted."""
    async with open_in_memory(max_attempts=3) as memory:
        memory.pool.fail("POST files", pool.status(418), times=99)
        await upload(memory)
        for attempt in (1, 2):
            (message,) = await memory.take()
            assert message["attempt"] == attempt
            memory.account.advance(10)
            await memory.run_queued(message)
        entry = await row(memory)
        assert (entry.state, entry.error_kind, entry.error_service) == ("failed", "pool_refused", "pool")
        assert entry.error_message.endswith("given up after 3 attempts")
        assert entry.stage == "queue"


async def test_retry_after_extends_the_delay(memory: Memory) -> None:
    memory.pool.fail("POST files", pool.status(503, Retry_After="100"), times=2)
    await upload(memory)
    assert await memory.take() == []
    memory.account.advance(126)
    assert len(await memory.take()) == 1


async def test_a_report_that_is_no_report_is_tried_once_more(memory: Memory) -> None:
    nonsense = pool.executed("Succeeded", "no report")
    memory.pool.fail("POST executions", lambda _: nonsense, times=2)
    entry = await upload(memory)
    assert entry is not None
    assert (entry.state, entry.error_kind) == ("failed", "bad_session_reply")


async def test_a_missing_rendition_is_a_lost_session(memory: Memory) -> None:
    memory.pool.fail("GET files/out-", pool.status(404, "FileNotFound"), times=4)
    assert state(await upload(memory)) == ("failed", "session_lost", 1)


@pytest.mark.parametrize("change", [lambda data: data + b"x", lambda data: data[:-1] + bytes([data[-1] ^ 1])])
async def test_a_changed_rendition_is_not_committed(memory: Memory, change: Callable[[bytes], bytes]) -> None:
    def forge(files: pool.Files) -> None:
        for name in files:
            if name.startswith("out-"):
                files[name] = change(files[name])

    memory.pool.fail("GET files/out-", forge, times=9)
    assert state(await upload(memory)) == ("failed", "bad_session_reply", 1)
    assert await memory.outputs() == {}


# -- storage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "stage"),
    [("blob.put output/", "commit"), ("blob.get input/", ""), ("row.create", ""), ("rows ledger", "ledger")],
)
async def test_unavailable_storage_keeps_the_job(memory: Memory, operation: str, stage: str) -> None:
    memory.account.fail(operation, 503, "ServerBusy")
    entry = await upload(memory)
    if stage:
        assert state(entry) == ("queued", "storage_unavailable", 0)
        assert entry is not None
        assert entry.stage == stage
    (message,) = await memory.take()
    assert message.get("attempt", 0) == 0
    await memory.run_queued(message)
    assert (await row(memory)).state == "done"
    assert len(await memory.outputs()) == 2


@pytest.mark.parametrize("operation", ["row.create ledger", "rows ledger", "blob.put output/"])
async def test_a_lost_response_is_no_conflict(memory: Memory, operation: str) -> None:
    """The write was made and its response is lost: the retry finds the job's own write."""
    memory.account.fail(operation, NO_RESPONSE)
    await upload(memory)
    for message in await memory.take():
        # The claim of the first delivery must have expired.
        memory.expire_claims()
        await memory.run_queued(message)
    assert (await row(memory)).state == "done"
    assert len(await memory.outputs()) == 2


async def test_an_error_that_cannot_be_queued_is_raised(memory: Memory) -> None:
    """The host then delivers the event again: the job is not lost."""
    memory.account.fail("blob.get input/", 503, "ServerBusy")
    memory.account.fail("queue.send", 503, "ServerBusy")
    with pytest.raises(StorageUnavailable):
        await upload(memory)
    assert state(await upload(memory)) == ("done", "", 1)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (409, "BlobArchived", ("failed", "archived", 1)),
        (409, "BlobImmutableDueToPolicy", ("failed", "immutable", 1)),
        (403, "AuthorizationFailure", ("queued", "storage_denied", 0)),
        (413, "RequestBodyTooLarge", ("failed", "storage_invalid", 1)),
        (409, "BlobUsesCustomerSpecifiedEncryption", ("failed", "customer_key", 1)),
        (412, "LeaseIdMissing", ("queued", "blob_leased", 1)),
        (418, "", ("queued", "storage_refused", 1)),
    ],
)
async def test_a_refused_commit(memory: Memory, status: int, code: str, expected: tuple[str, str, int]) -> None:
    memory.account.fail("blob.put output/", status, code, times=9)
    assert state(await upload(memory)) == expected


async def test_an_internal_error_is_retried(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> Entry:
        raise ZeroDivisionError

    monkeypatch.setattr(type(memory.services.executor), "execute", broken)
    await upload(memory)
    (message,) = await memory.take()
    assert message["attempt"] == 1


@pytest.mark.parametrize(
    ("code", "kind"), [("BlobArchived", "archived"), ("BlobUsesCustomerSpecifiedEncryption", "customer_key")]
)
async def test_a_source_that_storage_refuses_is_a_failure_with_its_reason(memory: Memory, code: str, kind: str) -> None:
    """Storage refuses even the properties of a blob with a customer's key; its listing has the ETag."""
    await memory.upload(NAME, image_bytes(60, 40))
    etag = (await memory.services.sources.stat("input", NAME)).etag
    memory.account.fail(f"blob.get input/{NAME}", 409, code, times=9)
    memory.account.fail(f"blob.head input/{NAME}", 409, code, times=9)
    await memory.services.dispatcher.handle_blob("input", NAME)
    entry = await row(memory)
    assert (entry.state, entry.error_kind, entry.version.etag) == ("failed", kind, etag)
    assert await memory.take() == []


async def test_a_404_without_a_code_is_retried_and_then_a_failure() -> None:
    """A proxy may answer so: the event is not swallowed, and the job is listed while it waits."""
    async with open_in_memory(max_attempts=2) as memory:
        await memory.upload(NAME, image_bytes(60, 40))
        memory.account.fail(f"blob.get input/{NAME}", 404, times=9)
        await memory.services.dispatcher.handle_blob("input", NAME)
        assert state(await row(memory)) == ("queued", "storage_refused", 0)
        (message,) = await memory.take()
        await memory.run_queued(message)
        assert state(await row(memory)) == ("failed", "storage_refused", 1)


async def test_a_source_that_is_gone_is_no_failure(memory: Memory) -> None:
    """A 404 without a code, and no such name in the listing."""
    memory.account.fail("blob.head input/gone.jpg", 404)
    with pytest.raises(JobSuperseded):
        await memory.services.outcomes.record_failure(
            Message(recipe="web", container="input", name="gone.jpg"), SourceError("?")
        )


# -- other workers and newer sources ---------------------------------------------------------------------------------


async def test_a_source_changed_meanwhile_leaves_the_newer_result() -> None:
    """The source is overwritten while its old version is in a session, and the new version is done first."""
    async with open_in_memory(session_concurrency=1) as memory:

        async def overwrite() -> None:
            await upload(memory, image_bytes(90, 40))

        await memory.upload(NAME, image_bytes(60, 40))
        memory.before_next("POST executions", overwrite)
        await memory.services.dispatcher.handle_blob("input", NAME)
        entry = await row(memory)
        assert entry.state == "done"
        assert entry.version.etag == (await memory.services.sources.stat("input", NAME)).etag
        assert {(one["width"], one["height"]) for one in entry.renditions} == {(90, 40), (40, 40)}
        assert await memory.take() == []


async def test_a_source_deleted_meanwhile_is_superseded(memory: Memory) -> None:
    async def delete() -> None:
        await memory.services.account.container("input").delete_blob(NAME)

    await memory.upload(NAME, bytes(5 * 1024 * 1024))
    memory.before_next("POST files", delete)
    await memory.services.dispatcher.handle_blob("input", NAME)
    assert (await row(memory)).state == "superseded"


@pytest.mark.parametrize("gone", ["source_gone", "folder_marker"])
async def test_an_expired_claim_is_dead_only_without_a_source(memory: Memory, gone: str) -> None:
    """A worker with an expired claim may be slow and about to finish, unless its source is gone."""
    await memory.upload(NAME, image_bytes(60, 40))
    message = Message(recipe="web", container="input", name=NAME)
    results = []

    async def supersede() -> None:
        memory.expire_claims()
        errors = [JobSuperseded("gone", kind=kind) for kind in ("superseded", gone)]
        results.extend([await memory.services.outcomes.mark_superseded(message, error) for error in errors])

    memory.before_next("POST executions", supersede)
    with suppress(PipelineError):
        await memory.services.dispatcher.handle_blob("input", NAME)
    assert results == [True, False]
    assert (await row(memory)).state == "superseded"


async def test_a_job_claimed_elsewhere_is_checked_again(memory: Memory) -> None:
    """Another delivery of the event arrives while the first one executes."""

    async def deliver_again() -> None:
        await memory.services.dispatcher.handle_blob("input", NAME)

    await memory.upload(NAME, image_bytes(60, 40))
    memory.before_next("POST executions", deliver_again)
    await memory.services.dispatcher.handle_blob("input", NAME)
    assert memory.pool.calls.count("POST executions") == 1
    assert await memory.take() == [], "the check comes when the claim has expired"
    memory.account.advance(memory.services.settings.claim_ttl + 1)
    (message,) = await memory.take()
    await memory.run_queued(message)
    assert memory.pool.calls.count("POST executions") == 1
    assert state(await row(memory)) == ("done", "", 1)


async def test_an_unknown_recipe_is_retried_then_fails() -> None:
    async with open_in_memory(max_attempts=2) as memory:
        await memory.upload(NAME, image_bytes(60, 40))
        await memory.services.dispatcher.execute_message(Message(recipe="gone", container="input", name=NAME))
        (message,) = await memory.take()
        await memory.run_queued(message)
        entry = await memory.entry("gone", NAME)
        assert state(entry) == ("failed", "unknown_recipe", 1)


def test_retry_delays_double_up_to_an_hour() -> None:
    settings = memory_settings(requeue_delay=10)
    assert 7.5 <= retry_delay(settings, 0) <= 12.5
    assert 60 <= retry_delay(settings, 3) <= 100
    assert retry_delay(settings, 30) <= MAX_DELAY_SECONDS * 1.25


# -- dead letters ----------------------------------------------------------------------------------------------------


async def blob_dead_letter(memory: Memory, name: str = NAME, container: str = "input") -> None:
    body = f'{{"ContainerName": "{container}", "BlobName": "{name}", "ETag": "x"}}'
    await memory.services.dead_letters.handle_blob_message(body.encode())


async def job_dead_letter(memory: Memory, message: dict[str, Any]) -> None:
    await memory.services.dead_letters.handle_job_message(json.dumps(message).encode())


async def test_a_dead_letter_of_the_blob_trigger_is_a_job_once(memory: Memory) -> None:
    """The trigger gives up within a second: the job is queued with a pause, and marked."""
    await memory.upload(NAME, image_bytes(60, 40))
    await blob_dead_letter(memory)
    assert await memory.take() == [], "there is a pause"
    assert await memory.entry("web", NAME) is None
    memory.account.advance(memory.services.settings.claim_ttl * 1.25)
    (message,) = await memory.take()
    assert message["recovered"] is True
    await memory.run_queued(message)
    assert state(await row(memory)) == ("done", "", 1)


async def test_a_recovered_job_that_breaks_off_again_is_a_failure(memory: Memory) -> None:
    await memory.upload(NAME, image_bytes(60, 40))
    await blob_dead_letter(memory)
    memory.account.advance(memory.services.settings.claim_ttl * 1.25)
    (message,) = await memory.take()
    await job_dead_letter(memory, message)
    assert state(await row(memory)) == ("failed", "undeliverable", 1)
    assert await memory.take() == []


@pytest.mark.parametrize("place", [("input", "photos/gone.jpg"), ("input", "other/a.jpg"), ("other", NAME)])
async def test_a_dead_letter_without_a_job_is_dropped(memory: Memory, place: tuple[str, str]) -> None:
    await blob_dead_letter(memory, place[1], place[0])
    memory.account.advance(1000)
    for message in await memory.take():
        await memory.run_queued(message)
    assert (await memory.services.ledger.page())[0] == []


async def test_a_dead_letter_waits_for_storage(memory: Memory) -> None:
    await memory.upload(NAME, image_bytes(60, 40))
    await memory.services.account.queue("jobs-poison").create_queue()
    memory.account.fail("row", 503, "ServerBusy", times=100)
    await job_dead_letter(memory, {"recipe": "web", "container": "input", "name": NAME})
    memory.account.work_again()
    assert await memory.entry("web", NAME) is None
    memory.account.advance(memory.services.settings.claim_ttl + 1)
    poison = memory.services.account.queue("jobs-poison")
    (message,) = [each async for each in poison.receive_messages()]
    await memory.services.dead_letters.handle_job_message(message.content)
    assert (await row(memory)).error_kind == "undeliverable"


@pytest.mark.parametrize("handler", ["handle_job_message", "handle_blob_message"])
async def test_an_unreadable_dead_letter_is_listed(memory: Memory, handler: str) -> None:
    handle: Callable[[bytes], Awaitable[None]] = getattr(memory.services.dead_letters, handler)
    given_up = mark_unreadable(b"nonsense", time.time() - memory.services.settings.give_up_after)
    await handle(given_up)
    await handle(given_up)
    ((entry,), _) = await memory.services.ledger.page(state="failed")
    assert (entry.name, entry.error_kind) == ("nonsense", "bad_message")


async def test_a_dead_letter_of_a_running_job_waits(memory: Memory) -> None:
    async def dead_letter() -> None:
        body = Message(recipe="web", container="input", name=NAME).model_dump_json().encode()
        await memory.services.dead_letters.handle_job_message(body)

    await memory.services.account.queue("jobs-poison").create_queue()
    await memory.upload(NAME, image_bytes(60, 40))
    memory.before_next("POST executions", dead_letter)
    await memory.services.dispatcher.handle_blob("input", NAME)
    assert (await row(memory)).state == "done"
    properties = await memory.services.account.queue("jobs-poison").get_queue_properties()
    assert properties.approximate_message_count == 1
