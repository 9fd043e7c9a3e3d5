"""Deployments side by side: an older one never undoes the work of a newer one, and reads what it does not know."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pipeline.errors import OutdatedDeployment
from pipeline.jobs.put_back import leave_to_newer
from pipeline.runs import Selection
from pipeline.runs.model import key_of
from pipeline.storage import Entry, Message
from pipeline.storage.queue import MAX_BODY_BYTES, RunWork, content_of, mark_unreadable, unreadable_since
from pipeline.testing import MemoryAccount
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory
from tests.stack import RECIPES

NAME = "photos/a.jpg"
NEWER = RECIPES.replace("width: 200", "width: 150")
OTHER = RECIPES.replace("width: 200", "width: 100")
DAY = 86_400
OUTDATED = OutdatedDeployment("older")


@asynccontextmanager
async def deployed(account: MemoryAccount, recipes: str, number: int) -> AsyncIterator[Memory]:
    """Open the services of a deployment."""
    async with open_in_memory(recipes, account, deployment=number) as memory:
        yield memory


async def uploaded(memory: Memory, name: str = NAME) -> None:
    """Deliver the event of a source."""
    await memory.services.dispatcher.handle_blob(memory.services.settings.input_container, name)


async def job(memory: Memory, name: str = NAME) -> Entry:
    """Return the row of a source's job."""
    entry = await memory.entry("web", name)
    assert entry is not None
    return entry


async def versions(memory: Memory) -> tuple[str, str]:
    """Return the recipe hash of the job and of this process."""
    return (await job(memory)).version.recipe_hash, memory.services.recipes.get("web").hash


def message(memory: Memory, **fields: Any) -> bytes:
    """Return a job message with these fields."""
    container = memory.services.settings.input_container
    return json.dumps({"recipe": "web", "container": container, "name": NAME, **fields}).encode()


async def test_an_older_deployment_leaves_the_result_of_a_newer_one() -> None:
    account = MemoryAccount()
    async with deployed(account, RECIPES, 100) as old, deployed(account, NEWER, 200) as new:
        await old.upload(NAME, image_bytes())
        await uploaded(new)
        before = await new.outputs()
        await uploaded(old)
        stored, active = await versions(new)
        assert stored == active
        assert await new.outputs() == before
        assert await old.take() == []


async def test_a_changed_source_waits_for_the_newer_deployment() -> None:
    account = MemoryAccount()
    async with deployed(account, RECIPES, 100) as old, deployed(account, NEWER, 200) as new:
        await old.upload(NAME, image_bytes())
        await uploaded(new)
        etag = await old.upload(NAME, image_bytes(color=(9, 9, 200)))
        await uploaded(old)
        assert (await job(new)).version.etag != etag
        (waiting,) = waiting_jobs(old)
        assert waiting["deployment"] == 100
        assert time.time() - waiting["left_since"] < 60
        await new.run_queued(waiting)
        entry = await job(new)
        assert (entry.state, entry.version.etag, entry.deployment) == ("done", etag, 200)


async def test_a_message_that_no_newer_deployment_takes_becomes_a_failure() -> None:
    account = MemoryAccount()
    async with deployed(account, RECIPES, 100) as old, deployed(account, NEWER, 200) as new:
        await old.upload(NAME, image_bytes())
        await uploaded(new)
        await old.upload(NAME, image_bytes(color=(9, 9, 200)))
        await old.services.dispatcher.handle_message(message(old, left_since=time.time() - DAY - 1))
        entry = await job(old)
        assert (entry.state, entry.error_kind, entry.deployment) == ("failed", "outdated_deployment", 200)
        assert await old.take() == []
        await uploaded(new)
        assert (await job(new)).state == "done"


async def test_a_rollback_under_a_new_number_replaces_the_newer_result() -> None:
    account = MemoryAccount()
    async with deployed(account, NEWER, 200) as new, deployed(account, RECIPES, 300) as back:
        await new.upload(NAME, image_bytes())
        await uploaded(new)
        plan = await back.services.planner.plan(selection())
        assert plan.reasons == {"recipe_changed": 1}
        await uploaded(back)
        stored, active = await versions(back)
        assert stored == active
        assert (await new.services.planner.plan(selection())).jobs == 0


async def test_what_a_living_instance_does_after_a_rollback_is_due_again() -> None:
    """The newest deployment has the recipe version of the first one, and has not touched its result."""
    account = MemoryAccount()
    async with (
        deployed(account, RECIPES, 100) as first,
        deployed(account, NEWER, 200) as living,
        deployed(account, RECIPES, 300) as back,
    ):
        await first.upload(NAME, image_bytes())
        await uploaded(first)
        assert (await back.services.planner.plan(selection())).jobs == 0
        await uploaded(living)
        assert (await job(living)).deployment == 200
        assert (await back.services.planner.plan(selection())).reasons == {"recipe_changed": 1}
        await uploaded(back)
        before = await back.outputs()
        await uploaded(living)
        assert await back.outputs() == before, "a result of the newest deployment stays"
        stored, active = await versions(back)
        assert stored == active


async def test_an_older_deployment_starts_no_scheduled_run() -> None:
    """After a rollback, its run would bring the recipe version back from which operators have rolled back."""
    account = MemoryAccount()
    async with deployed(account, NEWER, 200) as living, deployed(account, RECIPES, 300) as back:
        await back.services.retention.apply()
        assert await living.services.schedule.start() is None
        assert await back.services.schedule.start() is not None


async def test_an_older_deployment_with_the_same_recipe_continues() -> None:
    account = MemoryAccount()
    async with deployed(account, RECIPES, 100) as old, deployed(account, RECIPES, 200) as new:
        await old.upload(NAME, image_bytes())
        await uploaded(new)
        etag = await old.upload(NAME, image_bytes(color=(9, 9, 200)))
        await uploaded(old)
        entry = await job(old)
        assert (entry.state, entry.version.etag, entry.deployment) == ("done", etag, 200)


async def test_a_claim_of_a_newer_deployment_is_left_alone(memory: Memory) -> None:
    account = memory.account
    async with deployed(account, RECIPES, 100) as old, deployed(account, NEWER, 200) as new:
        await old.upload(NAME, image_bytes())

        async def event_at_the_older_deployment() -> None:
            await uploaded(old)
            assert (await job(old)).deployment == 200

        new.before_next("POST executions", event_at_the_older_deployment)
        await uploaded(new)
        stored, active = await versions(new)
        assert stored == active


async def test_a_user_retries_a_job_of_a_newer_deployment_at_an_older_one() -> None:
    account = MemoryAccount()
    async with deployed(account, RECIPES, 100) as old, deployed(account, NEWER, 200) as new:
        await old.upload(NAME, image_bytes())
        await uploaded(new)
        assert (await old.services.jobs.retry((await job(old)).key)).state == "queued"
        (waiting,) = await old.take()
        await old.run_queued(waiting)
        (waiting,) = waiting_jobs(old)
        await new.run_queued(waiting)
        stored, active = await versions(new)
        assert stored == active
        assert (await job(new)).state == "done"


# -- runs -------------------------------------------------------------------------------------------------------------


def selection() -> Selection:
    """Return the selection of all due jobs."""
    return Selection()


async def test_an_older_deployment_leaves_a_run_to_a_newer_one() -> None:
    account = MemoryAccount()
    async with deployed(account, RECIPES, 100) as old, deployed(account, NEWER, 200) as new:
        await new.upload(NAME, image_bytes())
        run = await new.services.runs.start(selection(), expected_count=1)
        (body,) = await new.run_messages()
        await old.services.run_worker.handle_message(body)
        assert (await old.services.runs.get(run.id)).state == "working"
        (waiting,) = waiting_runs(old)
        assert json.loads(waiting)["left_since"]
        await new.services.run_worker.handle_message(body)
        await new.process_messages()
        assert (await new.services.runs.get(run.id)).state == "done"
        stored, active = await versions(new)
        assert stored == active


async def test_a_run_stops_if_no_newer_deployment_takes_it() -> None:
    account = MemoryAccount()
    async with deployed(account, RECIPES, 100) as old, deployed(account, NEWER, 200) as new:
        await new.upload(NAME, image_bytes())
        run = await new.services.runs.start(selection(), expected_count=1)
        work = RunWork(run=run.id, left_since=time.time() - DAY - 1)
        await old.services.run_worker.handle_message(work.model_dump_json().encode())
        stopped = await old.services.runs.get(run.id)
        assert stopped.state == "stopped"
        assert "newer deployment 200" in stopped.why


async def test_a_scheduled_run_continues_with_the_recipes_of_a_newer_deployment() -> None:
    account = MemoryAccount()
    async with deployed(account, RECIPES, 100) as old, deployed(account, NEWER, 200) as new:
        for name in ("photos/a.jpg", "photos/b.jpg"):
            await old.upload(name, image_bytes())
        run = await old.services.schedule.start()
        assert run is not None
        await new.process_messages()
        seen = await new.services.runs.get(run.id)
        assert (seen.state, seen.progress.done, seen.deployment) == ("done", 2, 200)
        stored, active = await versions(new)
        assert stored == active


async def test_a_run_with_unknown_fields_is_listed_and_done(memory: Memory) -> None:
    """Proof `forward_compat_of_runs`: GET /runs was a 500 for ever."""
    services = memory.services
    await memory.upload(NAME, image_bytes())
    run = await services.runs.start(selection(), expected_count=1)
    await change_run(memory, run.id, lambda content: content["selection"].update(added_later=True))
    assert [each.id for each in (await services.runs.list_runs())[0]] == [run.id]
    await memory.process_messages()
    assert (await services.runs.get(run.id)).state == "done"


@pytest.mark.parametrize("needs", ["added_later", "selection.added_later"])
async def test_a_run_that_needs_an_unknown_field_is_shown_and_not_processed(memory: Memory, needs: str) -> None:
    services = memory.services
    run = await services.runs.start(selection(), expected_count=1)
    await change_run(memory, run.id, lambda content: content.update(needs=[needs]))
    shown = (await services.runs.list_runs())[0][0]
    assert (shown.id, shown.state) == (run.id, "stopped")
    assert "added_later" in shown.why
    (body,) = await memory.run_messages()
    await services.run_worker.handle_message(body)
    (waiting,) = waiting_runs(memory)
    assert content_of(waiting) == body


async def test_a_run_edited_by_hand_does_not_hide_the_others(memory: Memory) -> None:
    services = memory.services
    kept, broken = [await services.runs.start(selection(), expected_count=1) for _ in range(2)]
    await change_run(memory, broken.id, lambda content: content.clear())
    shown = {run.id: run for run in (await services.runs.list_runs())[0]}
    assert (shown[kept.id].state, shown[broken.id].state) == ("working", "stopped")
    assert (await services.runs.get(broken.id)).why


async def change_run(memory: Memory, run_id: str, change: Any) -> None:
    """Change the stored document of a run."""
    store, key = memory.services.run_store, key_of(run_id)
    document = await store.get("run", key)
    assert document is not None
    content = json.loads(json.dumps(document.content))
    change(content)
    assert await store.replace("run", key, document, content)


def waiting_runs(memory: Memory) -> list[bytes]:
    """Return the bodies in the run queue, the invisible ones included."""
    return bodies(memory, memory.services.settings.run_queue)


def waiting_jobs(memory: Memory) -> list[dict[str, Any]]:
    """Return the messages in the job queue, the invisible ones included."""
    return [json.loads(body) for body in bodies(memory, memory.services.settings.job_queue)]


def bodies(memory: Memory, queue: str) -> list[bytes]:
    """Return the bodies in a queue, the invisible ones included."""
    return [each.body for each in memory.account.store.messages if each.queue == queue]


# -- messages that cannot be read -------------------------------------------------------------------------------------

GARBAGE = [b"", b"\xff\x00nonsense", b"[" * 20_000, b"{}", b"null", b"x" * 1000]


@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_is_put_back_and_becomes_a_failure_in_the_end(memory: Memory, body: bytes) -> None:
    services = memory.services
    await services.dispatcher.handle_message(body)
    (waiting,) = bodies(memory, services.settings.job_queue)
    assert content_of(waiting) == body
    assert (await services.ledger.page(state="failed"))[0] == []
    await services.dispatcher.handle_message(mark_unreadable(body, time.time() - DAY - 1))
    (failure,) = (await services.ledger.page(state="failed"))[0]
    assert (failure.error_kind, failure.stage) == ("bad_message", "queue")
    assert len(bodies(memory, services.settings.job_queue)) == 1


@pytest.mark.parametrize("seconds", [600, 10 * DAY], ids=["a clock that is ahead", "forged"])
async def test_a_first_delivery_in_the_future_counts_as_now(memory: Memory, seconds: float) -> None:
    """With its time, the message would return every five seconds until then."""
    services, ahead = memory.services, time.time() + seconds
    await services.dispatcher.handle_message(mark_unreadable(b"{}", ahead))
    (waiting,) = bodies(memory, services.settings.job_queue)
    assert unreadable_since(waiting) == pytest.approx(time.time(), abs=5)
    left = leave_to_newer(Message(recipe="web", container="input", name=NAME, left_since=ahead), OUTDATED, DAY)
    assert left is not None
    assert left[0].left_since <= time.time()


@pytest.mark.parametrize(
    "unknown",
    [{"version": 99}, {"needs": ["added_later"]}, {"attempt": -1}, {"seen": "never"}],
    ids=["version 99", "a needed field", "an invalid number", "another type"],
)
async def test_a_message_of_a_newer_version_becomes_a_failure_of_its_job_in_the_end(
    memory: Memory, unknown: dict[str, Any]
) -> None:
    """Proof `bad_message`: the job's row stayed empty, and the failure was one of an unreadable message."""
    services, body = memory.services, message(memory, **unknown)
    await memory.upload(NAME, image_bytes())
    await services.dispatcher.handle_message(body)
    (waiting,) = bodies(memory, services.settings.job_queue)
    assert await memory.entry("web", NAME) is None
    since = unreadable_since(waiting)
    assert since is not None
    await services.dispatcher.handle_message(
        waiting.replace(f"{since:.0f}".encode(), f"{since - DAY - 1:.0f}".encode())
    )
    assert ((await job(memory)).state, (await job(memory)).error_kind) == ("failed", "bad_message")


async def test_a_message_that_was_put_back_is_executed_by_a_version_that_reads_it(memory: Memory) -> None:
    await memory.upload(NAME, image_bytes())
    await memory.services.dispatcher.handle_message(mark_unreadable(message(memory), time.time()))
    assert (await job(memory)).state == "done"


async def test_a_message_with_an_unknown_field_is_executed(memory: Memory) -> None:
    await memory.upload(NAME, image_bytes())
    await memory.services.dispatcher.handle_message(message(memory, added_later=1))
    assert (await job(memory)).state == "done"


async def test_a_message_of_64_kib_is_recorded_at_once(memory: Memory) -> None:
    """With a mark, it would exceed the size of a message."""
    services, body = memory.services, b"x" * MAX_BODY_BYTES
    await services.dispatcher.handle_message(body)
    (failure,) = (await services.ledger.page(state="failed"))[0]
    assert failure.error_kind == "bad_message"
    assert bodies(memory, services.settings.job_queue) == []


async def test_an_unreadable_batch_fails_its_jobs_in_the_end(memory: Memory) -> None:
    services = memory.services
    await memory.upload(NAME, image_bytes())
    run = await services.runs.start(selection(), expected_count=1)
    (body,) = await memory.run_messages()
    await services.run_worker.handle_message(body)
    (body,) = await memory.run_messages()
    unreadable = json.dumps({**json.loads(body), "needs": ["added_later"]}).encode()
    await services.run_worker.handle_message(unreadable)
    (waiting,) = waiting_runs(memory)
    assert content_of(waiting) == unreadable
    await services.run_worker.handle_message(mark_unreadable(unreadable, time.time() - DAY - 1))
    assert (await job(memory)).error_kind == "bad_message"
    assert (await services.runs.get(run.id)).progress.failed == 1


def test_only_numbers_count_as_a_mark() -> None:
    assert content_of(b"unreadable since last week\nmore") == b"unreadable since last week\nmore"
    assert Message.salvage(b'{"recipe": 1, "container": "c", "name": "n"}') is None


async def test_a_message_that_is_given_up_does_not_replace_a_newer_result() -> None:
    account = MemoryAccount()
    async with deployed(account, RECIPES, 100) as old, deployed(account, NEWER, 200) as new:
        await old.upload(NAME, image_bytes())
        await uploaded(new)
        unreadable = message(old, needs=["added_later"])
        await old.services.dispatcher.handle_message(mark_unreadable(unreadable, time.time() - DAY - 1))
        assert (await job(old)).state == "done"


async def test_a_dead_letter_of_a_newer_deployment_waits_for_it() -> None:
    account = MemoryAccount()
    async with deployed(account, RECIPES, 100) as old, deployed(account, NEWER, 200) as new:
        await old.upload(NAME, image_bytes())
        await uploaded(new)
        await old.upload(NAME, image_bytes(color=(9, 9, 200)))
        await account.queue("jobs-poison").create_queue()
        await old.services.dead_letters.handle_job_message(message(old))
        assert (await job(old)).state == "done"
        (waiting,) = bodies(old, "jobs-poison")
        await new.services.dead_letters.handle_job_message(waiting)
        assert (await job(new)).error_kind == "undeliverable"


async def test_a_rendition_of_a_newer_deployment_stays_although_its_row_is_lost() -> None:
    account = MemoryAccount()
    async with deployed(account, RECIPES, 100) as old, deployed(account, NEWER, 200) as new:
        await old.upload(NAME, image_bytes())
        await uploaded(new)
        before = await new.outputs()
        await new.services.ledger.delete(await job(new))
        await uploaded(old)
        assert await old.outputs() == before
        assert (await job(old)).state == "queued"
        (waiting,) = waiting_jobs(old)
        assert waiting["left_since"]
        await new.run_queued(waiting)
        assert (await job(new)).state == "done"
