"""In-memory storage behaves as Azurite does: the same calls have the same outcomes, to the error code."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceModifiedError
from azure.data.tables import EdmType, EntityProperty, TableTransactionError, UpdateMode
from azure.storage.blob import BlobBlock, ContentSettings
from azure.storage.blob.aio import BlobLeaseClient

from pipeline.settings import Settings
from pipeline.storage.account import READ_CHUNK_BYTES, Account

MATCH, MISSING, CHANGED = MatchConditions.IfNotModified, MatchConditions.IfMissing, MatchConditions.IfModified


async def outcome(call: Awaitable[Any]) -> tuple[str, int | None, str]:
    """Await a call that must fail: the type of the error, its status and its code."""
    with pytest.raises(HttpResponseError) as caught:
        await call
    code: Any = getattr(caught.value, "error_code", "")
    return type(caught.value).__name__, caught.value.status_code, str(getattr(code, "value", code))


# -- blobs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def container(account: Account, settings: Settings) -> Any:
    return account.container(settings.output_container)


async def test_a_blob_keeps_its_content_and_headers(container: Any) -> None:
    blob = container.get_blob_client("folder/a b.jpg")
    headers = ContentSettings(content_type="image/jpeg", cache_control="max-age=60")
    before = datetime.now(UTC) - timedelta(seconds=5)
    written = await blob.upload_blob(b"data", metadata={"by": "me"}, content_settings=headers)
    stream = await blob.download_blob()
    facts = await blob.get_blob_properties()
    assert (await stream.readall(), stream.size) == (b"data", 4)
    assert facts.etag == written["etag"] == stream.properties.etag
    assert facts.etag.startswith('"')
    assert (facts.content_settings.content_type, facts.content_settings.cache_control) == ("image/jpeg", "max-age=60")
    assert (facts.size, dict(facts.metadata)) == (4, {"by": "me"})
    assert before < facts.last_modified < before + timedelta(seconds=60)
    assert await blob.exists()


async def test_a_blob_without_headers_is_an_octet_stream(container: Any) -> None:
    blob = container.get_blob_client("a")
    await blob.upload_blob(b"")
    assert (await blob.get_blob_properties()).content_settings.content_type == "application/octet-stream"
    assert await (await blob.download_blob()).readall() == b""


async def test_new_metadata_changes_the_etag(container: Any) -> None:
    blob = container.get_blob_client("a")
    before = (await blob.upload_blob(b"data", metadata={"by": "me"}))["etag"]
    written = await blob.set_blob_metadata({"kept": "1"}, etag=before, match_condition=MATCH)
    facts = await blob.get_blob_properties()
    assert (dict(facts.metadata), facts.etag) == ({"kept": "1"}, written["etag"])
    assert written["etag"] != before
    stale = blob.set_blob_metadata({}, etag=before, match_condition=MATCH)
    assert (await outcome(stale))[1:] == (412, "ConditionNotMet")


async def test_a_missing_blob_is_not_found(container: Any) -> None:
    blob = container.get_blob_client("a")
    not_found = ("ResourceNotFoundError", 404, "BlobNotFound")
    assert await outcome(blob.download_blob()) == not_found
    assert await outcome(blob.get_blob_tags()) == not_found
    assert await outcome(blob.get_blob_properties()) == not_found
    assert await outcome(blob.delete_blob()) == not_found
    assert await outcome(blob.acquire_lease(60)) == not_found
    assert not await blob.exists()


async def test_a_missing_container_is_not_found(account: Account) -> None:
    container: Any = account.container("missing")
    not_found = ("ResourceNotFoundError", 404, "ContainerNotFound")
    assert await outcome(container.get_container_properties()) == not_found
    assert await outcome(container.upload_blob("a", b"")) == not_found
    assert await outcome(container.download_blob("a")) == not_found


async def test_what_exists_is_not_created_twice(account: Account, settings: Settings) -> None:
    container = account.container(settings.output_container)
    queue, table = account.queue(settings.job_queue), account.table(settings.ledger_table)
    assert await outcome(container.create_container()) == ("ResourceExistsError", 409, "ContainerAlreadyExists")
    assert await outcome(table.create_table()) == ("ResourceExistsError", 409, "TableAlreadyExists")
    # Azurite answers 204 and the service 409, both with this code.
    assert (await outcome(queue.create_queue()))[::2] == ("ResourceExistsError", "QueueAlreadyExists")


async def test_a_blob_is_overwritten_only_when_asked_to(container: Any) -> None:
    blob = container.get_blob_client("a")
    first = await blob.upload_blob(b"1")
    assert await outcome(blob.upload_blob(b"2")) == ("ResourceExistsError", 409, "BlobAlreadyExists")
    second = await blob.upload_blob(b"2", overwrite=True)
    assert first["etag"] != second["etag"]


async def test_conditions_guard_a_blob(container: Any) -> None:
    blob = container.get_blob_client("a")
    old = (await blob.upload_blob(b"1"))["etag"]
    new = (await blob.upload_blob(b"2", overwrite=True, etag=old, match_condition=MATCH))["etag"]
    stale = {"etag": old, "match_condition": MATCH}
    assert await outcome(blob.upload_blob(b"3", overwrite=True, **stale)) == (
        "ResourceModifiedError",
        412,
        "ConditionNotMet",
    )
    assert (await outcome(blob.upload_blob(b"3", **stale)))[1:] == (412, "BlobAlreadyExists")
    assert await outcome(blob.download_blob(**stale)) == ("ResourceModifiedError", 412, "ConditionNotMet")
    assert await outcome(blob.delete_blob(**stale)) == ("ResourceModifiedError", 412, "ConditionNotMet")
    unchanged = await outcome(blob.download_blob(etag=new, match_condition=CHANGED))
    assert unchanged == ("ResourceModifiedError", 304, "ConditionNotMet")
    assert await (await blob.download_blob(etag=old, match_condition=CHANGED)).readall() == b"2"
    await blob.delete_blob(etag=new, match_condition=MATCH)
    assert not await blob.exists()


async def test_a_new_blob_never_has_the_etag_of_a_deleted_one(container: Any) -> None:
    blob = container.get_blob_client("a")
    old = (await blob.upload_blob(b"1"))["etag"]
    await blob.delete_blob()
    await blob.upload_blob(b"1")
    assert (await outcome(blob.download_blob(etag=old, match_condition=MATCH)))[1] == 412


async def test_a_blob_changed_while_it_is_read_is_noticed(container: Any) -> None:
    blob = container.get_blob_client("a")
    await blob.upload_blob(bytes(2 * READ_CHUNK_BYTES + 1))
    stream = await blob.download_blob(match_condition=MATCH, etag=(await blob.get_blob_properties()).etag)
    chunks = stream.chunks()
    assert len(await anext(chunks)) == READ_CHUNK_BYTES
    await blob.upload_blob(b"other", overwrite=True)
    with pytest.raises(ResourceModifiedError):
        [chunk async for chunk in chunks]


async def test_blocks_become_a_blob_when_committed(container: Any) -> None:
    blob = container.get_blob_client("a")
    await blob.stage_block("MDA=", b"first")
    await blob.stage_block("MDE=", b"second")
    assert not await blob.exists()
    blocks = [BlobBlock("MDA="), BlobBlock("MDE=")]
    await blob.commit_block_list(blocks, metadata={"n": "1"}, match_condition=MISSING)
    assert await (await blob.download_blob()).readall() == b"firstsecond"
    missing = blob.commit_block_list([BlobBlock("MDI=")], metadata={})
    assert (await outcome(missing))[1:] == (400, "InvalidBlockList")
    again = blob.commit_block_list(blocks, metadata={}, match_condition=MISSING)
    assert await outcome(again) == ("ResourceExistsError", 409, "BlobAlreadyExists")


async def test_tags_are_kept_with_a_blob(container: Any) -> None:
    blob = container.get_blob_client("a")
    await blob.upload_blob(b"")
    assert await blob.get_blob_tags() == {}
    await blob.set_blob_tags({"focal": "0.5 0.5"})
    assert await blob.get_blob_tags() == {"focal": "0.5 0.5"}


async def test_a_listing_comes_in_pages_and_in_order(container: Any) -> None:
    # In UTF-16 the last name begins with a surrogate, which sorts before U+FF5E.
    names = ["b/1", "b/2", "b/~", "b/é", "b/\U0001f600", "b/\uff5e"]
    for name in ["a", *names, "c"]:
        await container.upload_blob(name, b"", metadata={"n": "1"})
    pages = container.list_blobs(name_starts_with="b/", results_per_page=4).by_page()
    first = [blob async for blob in await anext(pages)]
    token = pages.continuation_token
    assert token
    rest = container.list_blobs(name_starts_with="b/", results_per_page=4).by_page(token)
    second = [blob async for blob in await anext(rest)]
    assert not rest.continuation_token
    assert [blob.name for blob in [*first, *second]] == names
    assert not first[0].metadata
    assert not first[0].etag.startswith('"')
    with pytest.raises(StopAsyncIteration):
        await anext(rest)
    assert [blob.metadata async for blob in container.list_blobs("c", include=["metadata"])] == [{"n": "1"}]
    assert len([blob async for blob in container.list_blobs()]) == 8


# -- leases ----------------------------------------------------------------------------------------------------------


async def test_a_lease_keeps_others_out(container: Any) -> None:
    blob = container.get_blob_client("a")
    await blob.upload_blob(b"1")
    lease = await blob.acquire_lease(60)
    assert await outcome(blob.acquire_lease(60)) == ("ResourceExistsError", 409, "LeaseAlreadyPresent")
    assert (await outcome(blob.upload_blob(b"2", overwrite=True)))[1:] == (412, "LeaseIdMissing")
    assert (await outcome(blob.delete_blob()))[1:] == (412, "LeaseIdMissing")
    await blob.upload_blob(b"2", overwrite=True, lease=lease)
    assert [each.lease.status async for each in container.list_blobs()] == ["locked"]
    await lease.renew()
    await lease.release()
    assert [each.lease.status async for each in container.list_blobs()] == ["unlocked"]
    # After its release the SDK's lease has no id, and counts as none.
    await blob.upload_blob(b"3", overwrite=True, lease=lease)


async def test_a_released_lease_is_no_lease(container: Any) -> None:
    blob = container.get_blob_client("a")
    await blob.upload_blob(b"1")
    first = await blob.acquire_lease(60)
    first_id = first.id
    await first.release()
    second = await blob.acquire_lease(60)
    first.id = first_id
    assert (await outcome(first.renew()))[1:] == (409, "LeaseIdMismatchWithLeaseOperation")
    assert (await outcome(first.release()))[1:] == (409, "LeaseIdMismatchWithLeaseOperation")
    mismatch = await outcome(blob.upload_blob(b"3", overwrite=True, lease=first))
    assert mismatch[1:] == (412, "LeaseIdMismatchWithBlobOperation")
    await second.release()


async def test_a_broken_lease_is_not_renewed(container: Any) -> None:
    blob = container.get_blob_client("a")
    await blob.upload_blob(b"1")
    not_leased = await outcome(BlobLeaseClient(blob).break_lease())
    assert not_leased[1:] == (409, "LeaseNotPresentWithLeaseOperation")
    lease = await blob.acquire_lease(60)
    await BlobLeaseClient(blob).break_lease()
    assert (await outcome(lease.renew()))[1:] == (409, "LeaseIsBrokenAndCannotBeRenewed")
    assert (await outcome(blob.acquire_lease(60)))[1] == 409
    await lease.release()
    await blob.acquire_lease(60)


# -- tables ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def table(account: Account, settings: Settings) -> Any:
    return account.table(settings.ledger_table)


def row(key: str, partition: str = "p", **values: Any) -> dict[str, Any]:
    """Return a row for a table."""
    return {"PartitionKey": partition, "RowKey": key, **values}


async def test_a_row_keeps_its_values(table: Any) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    large = EntityProperty(2**40, EdmType.INT64)
    written = await table.create_entity(row("a", text="é", number=7, yes=True, at=moment, large=large))
    entity = await table.get_entity("p", "a")
    assert (entity["text"], entity["number"], entity["yes"], entity["at"]) == ("é", 7, True, moment)
    assert entity["large"].value == 2**40
    assert entity.metadata["etag"] == written["etag"]
    assert abs(entity.metadata["timestamp"] - datetime.now(UTC)) < timedelta(seconds=60)


async def test_conditions_guard_a_row(table: Any) -> None:
    missing = table.update_entity(row("a"), mode=UpdateMode.REPLACE, etag='W/"1"', match_condition=MATCH)
    assert await outcome(missing) == ("ResourceNotFoundError", 404, "ResourceNotFound")
    old = (await table.create_entity(row("a", n=1)))["etag"]
    # The SDK keeps no code for a row that cannot be created.
    assert (await outcome(table.create_entity(row("a"))))[:2] == ("ResourceExistsError", 409)
    await table.update_entity(row("a", n=2), mode=UpdateMode.REPLACE, etag=old, match_condition=MATCH)
    stale = table.update_entity(row("a", n=3), mode=UpdateMode.REPLACE, etag=old, match_condition=MATCH)
    assert await outcome(stale) == ("ResourceModifiedError", 412, "UpdateConditionNotSatisfied")
    assert (await table.get_entity("p", "a"))["n"] == 2


async def test_a_missing_row_is_deleted_without_complaint(table: Any) -> None:
    await table.create_entity(row("a"))
    await table.delete_entity("p", "a")
    await table.delete_entity("p", "a")
    assert await outcome(table.get_entity("p", "a")) == ("ResourceNotFoundError", 404, "ResourceNotFound")


async def test_a_missing_table_is_not_found(account: Account) -> None:
    table: Any = account.table("missing")
    assert await outcome(table.get_entity("p", "a")) == ("ResourceNotFoundError", 404, "TableNotFound")
    assert (await outcome(table.create_entity(row("a"))))[:2] == ("ResourceNotFoundError", 404)


async def test_a_transaction_is_all_or_nothing(table: Any) -> None:
    etag = (await table.create_entity(row("a", n=1)))["etag"]
    condition = {"mode": UpdateMode.REPLACE, "etag": etag, "match_condition": MATCH}
    replace = {"mode": UpdateMode.REPLACE}
    changes = [("update", row("a", n=2), condition), ("upsert", row("b"), replace), ("create", row("c"))]
    written = await table.submit_transaction(changes)
    assert len(written) == 3
    with pytest.raises(TableTransactionError) as caught:
        await table.submit_transaction([("upsert", row("d"), replace), ("delete", row("c")), changes[0]])
    assert (caught.value.status_code, str(caught.value.error_code), caught.value.index) == (
        412,
        "UpdateConditionNotSatisfied",
        2,
    )
    found = [each["RowKey"] async for each in table.query_entities("PartitionKey eq @p", parameters={"p": "p"})]
    assert found == ["a", "b", "c"]
    with pytest.raises(TableTransactionError) as caught:
        await table.submit_transaction([("delete", row("a")), ("delete", row("missing"))])
    assert (caught.value.status_code, caught.value.index) == (404, 1)
    with pytest.raises(TableTransactionError) as caught:
        await table.submit_transaction([("delete", row("a")), ("create", row("b"))])
    assert (caught.value.status_code, str(caught.value.error_code), caught.value.index) == (
        409,
        "EntityAlreadyExists",
        1,
    )


async def test_a_transaction_has_at_most_100_rows(table: Any) -> None:
    rows = [("create", row(f"{n:03d}")) for n in range(101)]
    # The SDK cannot read Azurite's response.
    with pytest.raises((HttpResponseError, HTTPException)):
        await table.submit_transaction(rows)
    assert [each async for each in table.query_entities("PartitionKey eq @p", parameters={"p": "p"})] == []
    assert len(await table.submit_transaction(rows[:100])) == 100


async def test_rows_are_in_the_order_of_utf_16(table: Any) -> None:
    names = ["A", "a", "a!", "aé", "a\U0001f600", "a\uff5e", "b"]
    for name in reversed(names):
        await table.create_entity(row(name))
    await table.create_entity(row("a", partition="q"))
    everything = table.query_entities("PartitionKey eq @p", parameters={"p": "p"})
    assert [each["RowKey"] async for each in everything] == names
    query = "PartitionKey eq @p and RowKey gt @first and RowKey lt @last"
    values = {"p": "p", "first": "a", "last": "a\uff5e"}
    assert [each["RowKey"] async for each in table.query_entities(query, parameters=values)] == names[2:5]
    query = "PartitionKey eq @p and RowKey ge @first and RowKey le @last"
    assert [each["RowKey"] async for each in table.query_entities(query, parameters=values)] == names[1:6]


async def test_a_query_compares_any_column(table: Any) -> None:
    for n in range(4):
        await table.create_entity(row(f"{n}", n=n, state="even" if n % 2 == 0 else "odd"))
    await table.create_entity(row("4"))
    query = "PartitionKey eq @p and state eq @state and n gt @n"
    found = table.query_entities(query, parameters={"p": "p", "state": "even", "n": 0})
    assert [each["RowKey"] async for each in found] == ["2"]


async def test_a_query_returns_the_selected_columns(table: Any) -> None:
    """A column that a row does not have is None: the service returns null, and Azurite leaves it out."""
    await table.create_entity(row("a", n=1, other=2))
    found = table.query_entities("PartitionKey eq @p", parameters={"p": "p"}, select=["RowKey", "n", "m"])
    (entity,) = [each async for each in found]
    assert (entity["RowKey"], entity["n"], entity.get("m"), "other" in entity) == ("a", 1, None, False)


async def test_a_query_comes_in_pages(table: Any) -> None:
    keys = [f"{n:02d}" for n in range(7)]
    await table.submit_transaction([("create", row(key, odd=int(key) % 2)) for key in keys])

    def query(condition: str, limit: int) -> Any:
        return table.query_entities(condition, parameters={"p": "p", "odd": 1}, results_per_page=limit)

    pages = query("PartitionKey eq @p", 3).by_page()
    assert [each["RowKey"] async for each in await anext(pages)] == keys[:3]
    token = pages.continuation_token
    assert isinstance(token["PartitionKey"], str)
    assert isinstance(token["RowKey"], str)
    following = query("PartitionKey eq @p", 3).by_page(token)
    assert [[each["RowKey"] async for each in page] async for page in following] == [keys[3:6], keys[6:]]
    whole = query("PartitionKey eq @p", 7).by_page()
    assert len([each async for each in await anext(whole)]) == 7
    assert not whole.continuation_token
    assert [each["RowKey"] async for each in query("PartitionKey eq @p and odd eq @odd", 2)] == ["01", "03", "05"]


async def test_a_transaction_merges_columns_into_a_row_that_exists(account: Account, settings: Settings) -> None:
    table: Any = account.table(settings.ledger_table)
    await table.create_entity({"PartitionKey": "m", "RowKey": "1", "a": 1, "b": 1})
    merge = {"mode": UpdateMode.MERGE}
    await table.submit_transaction([("update", {"PartitionKey": "m", "RowKey": "1", "b": 2}, merge)])
    row = await table.get_entity("m", "1")
    assert (row["a"], row["b"]) == (1, 2)
    unchanged = {"etag": row.metadata["etag"], "match_condition": MatchConditions.IfNotModified}
    await table.update_entity({"PartitionKey": "m", "RowKey": "1", "a": 3}, **merge, **unchanged)
    row = await table.get_entity("m", "1")
    assert (row["a"], row["b"]) == (3, 2)
    with pytest.raises(TableTransactionError) as caught:
        await table.submit_transaction([("update", {"PartitionKey": "m", "RowKey": "2", "b": 2}, merge)])
    assert (caught.value.status_code, caught.value.error_code) == (404, "ResourceNotFound")


# -- queues ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def queue(account: Account, settings: Settings) -> Any:
    return account.queue(settings.job_queue)


async def received(queue: Any, **options: Any) -> list[Any]:
    """Receive up to 32 messages once."""
    pages = queue.receive_messages(messages_per_page=32, **options).by_page()
    page = await anext(pages, None)
    return [message async for message in page] if page else []


async def test_a_received_message_is_hidden_for_its_timeout(queue: Any) -> None:
    await queue.send_message(b"1", visibility_timeout=0, time_to_live=-1)
    await queue.send_message(b"2", visibility_timeout=0, time_to_live=-1)
    first = await received(queue, visibility_timeout=1)
    assert [(message.content, message.dequeue_count) for message in first] == [(b"1", 1), (b"2", 1)]
    assert await received(queue) == []
    assert await queue.peek_messages() == []
    await asyncio.sleep(1.2)
    again = await received(queue, visibility_timeout=60)
    assert sorted((message.content, message.dequeue_count) for message in again) == [(b"1", 2), (b"2", 2)]
    assert {message.id for message in again} == {message.id for message in first}


async def test_a_message_is_deleted_by_its_last_receipt(queue: Any) -> None:
    await queue.send_message(b"1", visibility_timeout=0, time_to_live=-1)
    (first,) = await received(queue, visibility_timeout=1)
    await asyncio.sleep(1.2)
    (second,) = await received(queue, visibility_timeout=60)
    assert await outcome(queue.delete_message(first)) == ("HttpResponseError", 400, "PopReceiptMismatch")
    await queue.delete_message(second)
    assert await outcome(queue.delete_message(second)) == ("ResourceNotFoundError", 404, "MessageNotFound")


async def test_a_delayed_message_is_counted_and_not_seen(queue: Any) -> None:
    await queue.send_message(b"later", visibility_timeout=60, time_to_live=-1)
    assert await queue.peek_messages() == []
    assert (await queue.get_queue_properties()).approximate_message_count == 1
    await queue.send_message(b"now", visibility_timeout=0, time_to_live=-1)
    (message,) = await queue.peek_messages()
    assert message.content == b"now"
    assert abs(message.inserted_on - datetime.now(UTC)) < timedelta(seconds=60)


async def test_a_missing_queue_is_not_found(account: Account) -> None:
    queue: Any = account.queue(f"missing-{secrets.token_hex(4)}")
    message = queue.send_message(b"1", visibility_timeout=0, time_to_live=-1)
    assert await outcome(message) == ("ResourceNotFoundError", 404, "QueueNotFound")


async def test_a_queue_keeps_its_metadata_until_it_is_deleted(account: Account) -> None:
    name = f"own-{secrets.token_hex(4)}"
    queue: Any = account.queue(name)
    await queue.create_queue()
    assert (await queue.get_queue_properties()).metadata == {}
    await queue.set_queue_metadata({"mark": "1"})
    await queue.send_message(b"1", visibility_timeout=0, time_to_live=-1)
    facts = await queue.get_queue_properties()
    assert (facts.metadata, facts.approximate_message_count) == ({"mark": "1"}, 1)
    assert await account.queue_names(name) == [name]
    await queue.delete_queue()
    assert (await outcome(queue.get_queue_properties()))[1:] == (404, "QueueNotFound")
    assert await account.queue_names(name) == []
    await queue.create_queue()
    facts = await queue.get_queue_properties()
    assert (facts.metadata, facts.approximate_message_count) == ({}, 0)


async def test_a_sent_message_is_replaced_and_deleted_by_its_receipt(queue: Any) -> None:
    sent = await queue.send_message(b"1", visibility_timeout=60, time_to_live=-1)
    changed = await queue.update_message(sent.id, pop_receipt=sent.pop_receipt, content=b"2", visibility_timeout=0)
    (message,) = await queue.peek_messages()
    assert message.content == b"2"
    stale = queue.update_message(sent.id, pop_receipt=sent.pop_receipt, content=b"3", visibility_timeout=0)
    assert (await outcome(stale))[1:] == (400, "PopReceiptMismatch")
    await queue.delete_message(sent.id, pop_receipt=changed.pop_receipt)
    gone = queue.update_message(sent.id, pop_receipt=changed.pop_receipt, content=b"3", visibility_timeout=0)
    assert (await outcome(gone))[1:] == (404, "MessageNotFound")
