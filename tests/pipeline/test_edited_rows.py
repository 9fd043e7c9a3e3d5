"""A row that was edited by hand, of the ledger or of the table of runs, hides no other row, and is replaced."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline.runs import Selection
from pipeline.storage import SUMMARY_COLUMNS, JobKey, Message
from pipeline.storage.entry import Entry
from pipeline.storage.list_keys import LIST_MARK
from tests.api.client import call
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory

NAME, OTHER = "photos/a.jpg", "photos/b.jpg"
INVALID = {
    "generation": "many",
    "expires": "tomorrow",
    "since": "yesterday",
    "state": "finished",
    "attempts": "1",
    "details": b"{",
    "source_etag": None,
    "deployment": "new",
    "error_kind": 7,
}
EDITS: dict[str, Callable[[str], str]] = {
    "no JSON": lambda content: "no JSON",
    "numbers": lambda content: json.dumps(dict.fromkeys(json.loads(content), 3)),
    "texts": lambda content: json.dumps(dict.fromkeys(json.loads(content), "edited")),
    "nulls": lambda content: json.dumps(dict.fromkeys(json.loads(content))),
    "other names": lambda content: json.dumps({f"x{name}": value for name, value in json.loads(content).items()}),
}


async def both_done(memory: Memory) -> None:
    """Execute the jobs of two sources."""
    for name in (NAME, OTHER):
        await memory.upload(name, image_bytes())
        await memory.services.dispatcher.handle_blob("input", name)


def edit(memory: Memory, column: str, value: Any) -> None:
    """Change a column of the job of NAME and of its list rows; None deletes it."""
    store = memory.account.store
    for key, row in store.rows:
        items = dict(row.items)
        if key[0] == "ledger" and (items.get("job") or key[2]) == JobKey.of("web", "input", NAME).row:
            items.pop(column, None)
            changed = tuple(sorted({**items, **({} if value is None else {column: value})}.items()))
            store, _ = store.put_row(key, changed)
    memory.account.store = store


async def row(memory: Memory, name: str) -> Entry:
    """Return the row of a source's job."""
    entry = await memory.entry("web", name)
    assert entry is not None
    return entry


@pytest.mark.parametrize(("column", "value"), INVALID.items(), ids=INVALID)
async def test_an_invalid_value_hides_no_other_row_and_is_replaced(memory: Memory, column: str, value: Any) -> None:
    services = memory.services
    await both_done(memory)
    edit(memory, column, value)
    edited = await row(memory, NAME)
    assert (edited.state, edited.error_kind, edited.name) == ("failed", "unreadable_row", NAME)
    assert column in edited.error_message
    listed = (await call(memory, "GET", "/api/jobs")).json()["jobs"]
    assert {each["source"]["name"] for each in listed} == {NAME, OTHER}
    by_name = (await call(memory, "GET", "/api/jobs?prefix=photos/&container=input")).json()["jobs"]
    assert {each["source"]["name"] for each in by_name} == {NAME, OTHER}
    shown = await call(memory, "GET", f"/api/jobs/{edited.key.id}")
    assert (shown.status, shown.json()["error"]["kind"]) == (200, "unreadable_row")
    is_planned = column in SUMMARY_COLUMNS
    assert (await services.planner.plan(Selection())).reasons == ({"changed": 1} if is_planned else {})
    await services.ledger.failures_grouped()
    await services.dispatcher.handle_blob("input", NAME)
    assert (await row(memory, NAME)).state == "done"


async def test_a_claim_that_ends_in_the_far_future_is_replaced(memory: Memory) -> None:
    """Otherwise the job's message would return every minute for centuries, and no run would take the job."""
    await both_done(memory)
    far = datetime.now(UTC) + timedelta(days=40_000)
    for column, value in {"state": "running", "expires": far, "since": far}.items():
        edit(memory, column, value)
    await memory.services.dispatcher.handle_blob("input", NAME)
    assert (await row(memory, NAME)).state == "done"
    assert await memory.waiting_messages() == 0


async def test_a_retry_replaces_an_edited_row(memory: Memory) -> None:
    await both_done(memory)
    edit(memory, "container", 5)
    edited = await row(memory, NAME)
    assert (await memory.services.jobs.retry(edited.key)).state == "queued"
    (message,) = await memory.take()
    await memory.run_queued(message)
    assert (await row(memory, NAME)).state == "done"


async def test_an_edited_list_row_of_a_failure_is_counted(memory: Memory) -> None:
    await memory.upload(NAME, b"not an image")
    await memory.services.dispatcher.handle_blob("input", NAME)
    edit(memory, "since", "yesterday")
    (group,) = await memory.services.ledger.failures_grouped()
    assert (group.kind, group.count) == ("unreadable_row", 1)


@pytest.mark.parametrize(
    ("column", "value"), [("since", "yesterday"), ("service_seconds", -1.0), ("service_seconds", float("inf"))]
)
async def test_a_waiting_job_with_an_edited_list_row_is_left_out(memory: Memory, column: str, value: Any) -> None:
    """No message can name it."""
    for name in (NAME, OTHER):
        await memory.upload(name, image_bytes())
    for name in (NAME, OTHER):
        await memory.services.jobs.submit(Message(recipe="web", container="input", name=name))
    edit(memory, column, value)
    assert any(key[2].startswith(LIST_MARK) for key, _ in memory.account.store.rows)
    waiting = memory.services.lost_messages.jobs.waiting
    pages = [page async for page in waiting.queued(datetime.now(UTC))]
    assert [job.name for page in pages for job in page] == [OTHER]


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
async def test_bookkeeping_that_was_edited_starts_anew(edit: Callable[[str], str]) -> None:
    """Without it, no timer could do its work again."""
    async with open_in_memory(deployment=5) as memory:
        await edit_all_bookkeeping(memory, edit)
        services = memory.services
        await memory.upload(OTHER, image_bytes())
        await night(memory)
        assert (await row(memory, OTHER)).state == "done"
        await services.retention.apply()
        assert await services.active_recipes.mismatch() == ""
        await services.lost_messages.recover()
        await memory.account.queue(services.settings.job_queue).delete_queue()
        await services.lost_messages.recover()
        assert (await services.lost_messages.incarnations.check(services.settings.job_queue, create=False)) is not None


async def edit_all_bookkeeping(memory: Memory, edit: Callable[[str], str]) -> None:
    """Let all timers do their work, then edit what they have stored in the table of runs."""
    services = memory.services
    await memory.upload(NAME, image_bytes())
    await night(memory)
    await services.lost_messages.recover()
    await services.retention.apply()
    kinds = {"schedule", "queue", "recipes", "retention"}
    edited = [key for key, row in memory.account.store.rows if key[1] in kinds and dict(row.items).get("content")]
    assert {key[1] for key in edited} == kinds
    store = memory.account.store
    for key in edited:
        items = dict(dict(store.rows)[key].items)
        items["content"] = edit(items["content"])
        store, _ = store.put_row(key, tuple(sorted(items.items())))
    memory.account.store = store


async def night(memory: Memory) -> None:
    """Do the scheduled run of a night."""
    assert await memory.services.schedule.start()
    await memory.process_messages()
