"""Transactions are the same bytes as the SDK's, and their responses are read as the SDK reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from azure.core.rest import HttpRequest
from azure.data.tables import TableTransactionError
from azure.data.tables.aio import TableClient

from pipeline.storage.transactions import etags, frame, use_fast_transactions
from tests.stack import Stack

ROWS = {
    "a plain one": {"RowKey": "a", "state": "done"},
    "names with any characters": {"RowKey": "größe/日本.jpg", "name": "\u202eevil\x7f<img>", "emoji": "📷"},
    "text that mail would change": {"text": "From here\nFrom there", "more": ".\n.\r\n--batch_1--"},
    "a long one": {"report": "x y" * 10_000},
}


def operations(rows: list[dict[str, str]]) -> list[HttpRequest]:
    """Return a replacement of each row, and the deletion of one."""
    url = "http://127.0.0.1/t(PartitionKey='a',RowKey='%C3%A4''b')"
    headers = {"If-Match": 'W/"1"', "Content-Type": "application/json"}
    written = [HttpRequest("PATCH", url, headers=headers, content=json.dumps(row).encode()) for row in rows]
    written.append(HttpRequest("POST", url, json=rows[0]))
    return [*written, HttpRequest("DELETE", url, headers={"If-Match": "*", "DataServiceVersion": "3.0"})]


def of_sdk(parts: list[HttpRequest]) -> bytes:
    """Return a transaction as the SDK serializes it. Rows are escaped to ASCII."""
    changes: Any = HttpRequest("POST", "")
    whole: Any = HttpRequest("POST", "http://127.0.0.1/$batch")
    changes.set_multipart_mixed(*parts, boundary="changeset_1")
    whole.set_multipart_mixed(changes, boundary="batch_1")
    whole.prepare_multipart_body()
    return bytes(whole.content)


@pytest.mark.parametrize("case", ROWS)
def test_a_transaction_is_the_same_bytes_as_that_of_the_sdk(case: str) -> None:
    parts = operations([ROWS[case], ROWS["a plain one"]])
    assert frame(parts, "batch_1", "changeset_1") == of_sdk(parts)


def part(status: str, *headers: str) -> bytes:
    lines = ["--changeset_1", "Content-Type: application/http", "", f"HTTP/1.1 {status}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def test_the_etags_of_a_response_are_those_of_its_operations_in_order() -> None:
    created, deleted = (
        part("204 No Content", "A: b", 'etag: W/"1\'"'),
        part("204 No Content", "DataServiceVersion: 3.0;"),
    )
    updated = part("204 No Content", 'ETag: W/"2"', "Z: y")
    assert etags(created + deleted + updated, 3) == [{"etag": 'W/"1\'"'}, {}, {"etag": 'W/"2"'}]
    assert etags(created + deleted, 3) is None
    assert etags(part("412 Precondition Failed", "A: b"), 1) is None
    assert etags(b"no parts", 1) is None


@pytest.mark.stack
async def test_a_transaction_writes_deletes_and_fails_as_with_the_sdk(stack: Stack) -> None:
    use_fast_transactions()
    assert TableClient._batch_send.__module__ == "pipeline.storage.transactions"
    table = stack.services.account.table(stack.services.settings.ledger_table)
    rows = [{"PartitionKey": "p", "RowKey": f"größe '{number}' %2F", "text": "日本\r\n--batch"} for number in range(3)]
    written = await table.submit_transaction([("create", row) for row in rows])
    read = [await table.get_entity("p", row["RowKey"]) for row in rows]
    assert [each["etag"] for each in written] == [entity.metadata["etag"] for entity in read]
    assert [entity["text"] for entity in read] == [row["text"] for row in rows]
    again = [("delete", rows[1]), ("create", rows[0])]
    with pytest.raises(TableTransactionError) as error:
        await table.submit_transaction(again)
    assert (error.value.status_code, error.value.error_code, error.value.index) == (409, "EntityAlreadyExists", 1)
    assert await table.submit_transaction([("delete", rows[1]), ("upsert", rows[0])])
