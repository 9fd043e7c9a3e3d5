"""Submit, retry and dismiss jobs on the local stack."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.errors import JobSuperseded, StateConflict
from pipeline.pool.session import Session
from pipeline.storage.keys import JobKey
from pipeline.storage.ledger import Claim
from pipeline.storage.queue import Message
from tests.images import image_bytes
from tests.stack import Stack
from tests.waiting import eventually


def key(stack: Stack, name: str = "photos/a.jpg") -> JobKey:
    """Return the key of a job of the recipe `web`."""
    return JobKey.of("web", stack.services.settings.input_container, name)


async def with_failure(stack: Stack, name: str = "photos/a.jpg") -> JobKey:
    """Upload a source that fails; return the key of its job."""
    await stack.upload(name, b"not an image")
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, name)
    return key(stack, name)


async def state(stack: Stack, name: str = "photos/a.jpg") -> str:
    """Return the state of a job of the recipe `web`."""
    entry = await stack.entry("web", name)
    assert entry is not None
    return entry.state


async def delivered(stack: Stack) -> int:
    """Execute all messages of the job queue; return their number."""
    messages = await stack.messages()
    for message in messages:
        await stack.services.dispatcher.execute_message(Message(**message))
    return len(messages)


async def test_a_retried_failure_is_executed_once(stack: Stack) -> None:
    failed = await with_failure(stack)
    await stack.upload("photos/a.jpg", image_bytes())
    waiting = await stack.services.jobs.retry(failed)
    assert waiting.state == "queued"
    assert waiting.generation > 0
    with pytest.raises(StateConflict) as caught:
        await stack.services.jobs.retry(failed)
    assert caught.value.kind == "job_queued"
    (message,) = await stack.messages()
    for _ in range(2):
        await stack.services.dispatcher.execute_message(Message(**message))
    entry = await stack.services.jobs.get(failed)
    assert (entry.state, entry.generation) == ("done", waiting.generation + 1), (
        "the same message, delivered twice, is executed once"
    )


async def test_a_cancelled_job_is_not_executed_by_its_old_message(stack: Stack) -> None:
    failed = await with_failure(stack)
    await stack.upload("photos/a.jpg", image_bytes())
    await stack.services.jobs.retry(failed)
    await stack.services.jobs.dismiss(failed)
    (message,) = await stack.messages()
    await stack.services.dispatcher.execute_message(Message(**message))
    assert (await stack.services.jobs.get(failed)).state == "dismissed"
    await stack.services.jobs.retry(failed)
    for message in await stack.messages():
        await stack.services.dispatcher.execute_message(Message(**message))
    assert (await stack.services.jobs.get(failed)).state == "done"


@pytest.mark.both
async def test_failures_are_retried_by_kind_and_prefix(stack: Stack) -> None:
    for name in ("photos/a/1.jpg", "photos/a/2.jpg", "photos/b/1.jpg"):
        await with_failure(stack, name)
    assert await stack.services.jobs.retry_failures(kind="too_many_bytes") == 0
    assert await stack.services.jobs.retry_failures(recipe="web", kind="not_an_image", prefix="photos/a/") == 2
    assert await state(stack, "photos/b/1.jpg") == "failed"
    assert await stack.waiting_messages() == 2


async def test_a_dismissed_failure_stays_in_the_ledger(stack: Stack) -> None:
    failed = await with_failure(stack)
    await stack.services.jobs.dismiss(failed)
    assert (await stack.services.jobs.dismiss(failed)).state == "dismissed"
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, "photos/a.jpg")
    assert await state(stack) == "dismissed"
    assert (await stack.services.ledger.page(state="failed"))[0] == []
    await stack.upload("photos/a.jpg", image_bytes())
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, "photos/a.jpg")
    assert await state(stack) == "done", "a new version of the source is another job"


async def test_a_dismissed_queued_job_is_not_executed(stack: Stack) -> None:
    await stack.upload("photos/a.jpg", image_bytes())
    message = Message(recipe="web", container=stack.services.settings.input_container, name="photos/a.jpg")
    submitted = await stack.services.jobs.submit(message)
    assert await state(stack) == "queued"
    await stack.services.jobs.dismiss(submitted)
    assert await delivered(stack) == 1
    assert (await state(stack), await stack.outputs()) == ("dismissed", {})


async def test_done_and_unknown_jobs_cannot_be_dismissed_or_submitted(stack: Stack) -> None:
    await stack.upload("photos/a.jpg", image_bytes())
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, "photos/a.jpg")
    with pytest.raises(StateConflict, match="done"):
        await stack.services.jobs.dismiss(key(stack))
    with pytest.raises(StateConflict) as caught:
        await stack.services.jobs.retry(key(stack, "photos/nowhere.jpg"))
    assert caught.value.kind == "unknown_job"
    gone = Message(recipe="web", container=stack.services.settings.input_container, name="photos/nowhere.jpg")
    with pytest.raises(JobSuperseded):
        await stack.services.jobs.submit(gone)


@pytest.mark.both
async def test_a_claim_lost_while_waiting_for_a_session_stops_the_job(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock may be wrong: the worker's own, or that of the worker that took the job over."""
    renew, lost = Claim.renew, asyncio.Event()

    async def watched(claim: Claim) -> None:
        try:
            await renew(claim)
        except JobSuperseded:
            lost.set()
            raise

    monkeypatch.setattr(Claim, "renew", watched)
    monkeypatch.setattr(Claim, "heartbeat_interval", 0.05)
    services, container = stack.services, stack.services.settings.input_container
    await stack.upload("photos/a.jpg", image_bytes())
    async with services.scheduler.acquire_slot(None), services.scheduler.acquire_slot(None):
        recipe = await services.catalog.get("web")
        worker = asyncio.create_task(services.executor.execute(container, "photos/a.jpg", recipe))

        async def started() -> bool:
            return await stack.entry("web", "photos/a.jpg") is not None

        async def dismissed() -> bool:
            # A heartbeat may write the row in between.
            return await services.ledger.transition(await services.jobs.get(key(stack)), "dismissed") is not None

        await eventually(started)
        await eventually(dismissed)
        await asyncio.wait_for(lost.wait(), 30)
    with pytest.raises(JobSuperseded, match="taken this job over"):
        await worker
    assert (await state(stack), await stack.outputs()) == ("dismissed", {})


async def test_two_lost_leases_are_no_failure_of_the_source(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage of storage that lasts longer than a lease ends all leases, one after another."""
    check, renewed = Session._check, False

    def lapsed(session: Session) -> None:
        if not renewed:
            session._lease_is_valid = lambda: False
        check(session)

    monkeypatch.setattr(Session, "_check", lapsed)
    await stack.upload("photos/a.jpg", image_bytes())
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, "photos/a.jpg")
    entry = await stack.entry("web", "photos/a.jpg")
    assert entry is not None
    assert (entry.state, entry.error_kind, entry.attempts) == ("queued", "slot_lost", 0)
    renewed = True
    assert await delivered(stack) == 1
    assert await state(stack) == "done"


async def test_a_queued_job_without_a_source_is_superseded(stack: Stack) -> None:
    failed = await with_failure(stack)
    await stack.services.jobs.retry(failed)
    container = stack.services.account.container(failed_container := stack.services.settings.input_container)
    await container.delete_blob("photos/a.jpg")
    assert await delivered(stack) == 1
    assert await state(stack) == "superseded"
    with pytest.raises(JobSuperseded, match=failed_container):
        await stack.services.jobs.retry(failed)
