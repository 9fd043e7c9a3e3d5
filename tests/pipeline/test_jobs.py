"""Jobs that are asked for, retried and dismissed, on the embedded stack."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.errors import JobSuperseded, StateConflict
from pipeline.pool.session import Session
from pipeline.storage.keys import JobKey
from pipeline.storage.ledger import Claim
from pipeline.storage.queue import Message
from tests.images import picture
from tests.stack import Stack
from tests.waiting import eventually


def key(stack: Stack, name: str = "photos/a.jpg") -> JobKey:
    return JobKey.of("web", stack.services.settings.input_container, name)


async def with_failure(stack: Stack, name: str = "photos/a.jpg") -> JobKey:
    await stack.drop(name, b"not an image")
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, name)
    return key(stack, name)


async def state(stack: Stack, name: str = "photos/a.jpg") -> str:
    entry = await stack.entry("web", name)
    assert entry is not None
    return entry.state


async def delivered(stack: Stack) -> int:
    messages = await stack.messages()
    for message in messages:
        await stack.services.dispatcher.execute_message(Message(**message))
    return len(messages)


async def test_a_failure_that_is_retried_waits_and_is_done_again_once(stack: Stack) -> None:
    failed = await with_failure(stack)
    await stack.drop("photos/a.jpg", picture())
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
        "the same wish, delivered twice, is answered once"
    )


async def test_a_job_that_is_taken_back_is_not_done_by_what_had_asked_for_it_before(stack: Stack) -> None:
    failed = await with_failure(stack)
    await stack.drop("photos/a.jpg", picture())
    await stack.services.jobs.retry(failed)
    await stack.services.jobs.dismiss(failed)
    (message,) = await stack.messages()
    await stack.services.dispatcher.execute_message(Message(**message))
    assert (await stack.services.jobs.get(failed)).state == "dismissed"
    await stack.services.jobs.retry(failed)
    for message in await stack.messages():
        await stack.services.dispatcher.execute_message(Message(**message))
    assert (await stack.services.jobs.get(failed)).state == "done"


async def test_failures_are_retried_by_their_kind_and_prefix(stack: Stack) -> None:
    for name in ("photos/a/1.jpg", "photos/a/2.jpg", "photos/b/1.jpg"):
        await with_failure(stack, name)
    assert await stack.services.jobs.retry_failures(kind="too_many_bytes") == 0
    assert await stack.services.jobs.retry_failures(recipe="web", kind="not_an_image", prefix="photos/a/") == 2
    assert await state(stack, "photos/b/1.jpg") == "failed"
    assert await stack.waiting() == 2


async def test_a_failure_that_is_dismissed_is_kept_and_needs_no_attention(stack: Stack) -> None:
    failed = await with_failure(stack)
    await stack.services.jobs.dismiss(failed)
    assert (await stack.services.jobs.dismiss(failed)).state == "dismissed"
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, "photos/a.jpg")
    assert await state(stack) == "dismissed"
    assert (await stack.services.ledger.page(state="failed"))[0] == []
    await stack.drop("photos/a.jpg", picture())
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, "photos/a.jpg")
    assert await state(stack) == "done", "a new version of the source is another job"


async def test_a_waiting_job_that_is_dismissed_is_not_done(stack: Stack) -> None:
    await stack.drop("photos/a.jpg", picture())
    message = Message(recipe="web", container=stack.services.settings.input_container, name="photos/a.jpg")
    submitted = await stack.services.jobs.submit(message)
    assert await state(stack) == "queued"
    await stack.services.jobs.dismiss(submitted)
    assert await delivered(stack) == 1
    assert (await state(stack), await stack.outputs()) == ("dismissed", {})


async def test_what_is_done_or_not_there_cannot_be_dismissed_or_asked_for(stack: Stack) -> None:
    await stack.drop("photos/a.jpg", picture())
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, "photos/a.jpg")
    with pytest.raises(StateConflict, match="done"):
        await stack.services.jobs.dismiss(key(stack))
    with pytest.raises(StateConflict) as caught:
        await stack.services.jobs.retry(key(stack, "photos/nowhere.jpg"))
    assert caught.value.kind == "unknown_job"
    gone = Message(recipe="web", container=stack.services.settings.input_container, name="photos/nowhere.jpg")
    with pytest.raises(JobSuperseded):
        await stack.services.jobs.submit(gone)


async def test_a_worker_that_lost_its_job_while_it_waited_for_a_session_does_not_run_it(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock may be wrong, or that of whoever took the job over; what is recorded by then is not run again."""
    renew, lost = Claim.renew, asyncio.Event()

    async def noted(claim: Claim) -> None:
        try:
            await renew(claim)
        except JobSuperseded:
            lost.set()
            raise

    monkeypatch.setattr(Claim, "renew", noted)
    monkeypatch.setattr(Claim, "heartbeat_interval", 0.05)
    services, container = stack.services, stack.services.settings.input_container
    await stack.drop("photos/a.jpg", picture())
    async with services.scheduler.acquire_slot(None), services.scheduler.acquire_slot(None):
        recipe = await services.catalog.get("web")
        worker = asyncio.create_task(services.executor.execute(container, "photos/a.jpg", recipe))

        async def begun() -> bool:
            return await stack.entry("web", "photos/a.jpg") is not None

        await eventually(begun)
        await services.ledger.transition(await services.jobs.get(key(stack)), "dismissed")
        await asyncio.wait_for(lost.wait(), 30)
    with pytest.raises(JobSuperseded, match="taken this job over"):
        await worker
    assert (await state(stack), await stack.outputs()) == ("dismissed", {})


async def test_leases_that_were_lost_twice_are_no_failure_of_the_source(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Storage may be away for longer than a lease lasts, and then they all end, one after another."""
    check, renewed = Session._check, False

    def lapsed(session: Session) -> None:
        if not renewed:
            session._is_ours = lambda: False
        check(session)

    monkeypatch.setattr(Session, "_check", lapsed)
    await stack.drop("photos/a.jpg", picture())
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, "photos/a.jpg")
    entry = await stack.entry("web", "photos/a.jpg")
    assert entry is not None
    assert (entry.state, entry.error_kind, entry.attempts) == ("queued", "slot_lost", 1)
    renewed = True
    assert await delivered(stack) == 1
    assert await state(stack) == "done"


async def test_a_waiting_job_whose_source_went_waits_no_more(stack: Stack) -> None:
    failed = await with_failure(stack)
    await stack.services.jobs.retry(failed)
    container = stack.services.account.container(failed_container := stack.services.settings.input_container)
    await container.delete_blob("photos/a.jpg")
    assert await delivered(stack) == 1
    assert await state(stack) == "superseded"
    with pytest.raises(JobSuperseded, match=failed_container):
        await stack.services.jobs.retry(failed)
