"""The patch of azure-core serializes transactions to the same bytes."""

from __future__ import annotations

import json
from email.policy import HTTP, Compat32, Policy
from typing import Any

import pytest
from azure.core.rest import HttpRequest
from azure.core.utils import _pipeline_transport_rest_shared as framing

from pipeline.storage.transport import POLICY, use_fast_policy

ROWS = {
    "a plain one": {"RowKey": "a", "state": "done"},
    "names with any characters": {"RowKey": "größe/日本.jpg", "name": "\u202eevil\x7f<img>", "emoji": "📷"},
    "text that mail would change": {"text": "From here\nFrom there", "more": ".\n.\r\n--batch_1--"},
    "a long one": {"report": "x y" * 10_000},
}


def body(rows: list[dict[str, str]], policy: Policy[Any], monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Return a transaction of these rows as the SDK serializes it under a policy. Rows are escaped to ASCII."""
    monkeypatch.setattr(framing, "HTTP", policy)
    parts = []
    for row in rows:
        content = json.dumps(row).encode()
        headers = {"If-Match": 'W/"1"', "Content-Type": "application/json"}
        parts.append(HttpRequest("PATCH", "http://127.0.0.1/t(PartitionKey='a')", headers=headers, content=content))
    changes, whole = HttpRequest("POST", ""), HttpRequest("POST", "http://127.0.0.1/$batch")
    changes.set_multipart_mixed(*parts, boundary="changeset_1")
    whole.set_multipart_mixed(changes, boundary="batch_1")
    whole.prepare_multipart_body()
    return bytes(whole.content)


@pytest.mark.parametrize("case", ROWS)
def test_the_fast_policy_serializes_the_same_bytes(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [ROWS[case], ROWS["a plain one"]]
    assert body(rows, POLICY, monkeypatch) == body(rows, HTTP, monkeypatch)


def test_the_sdk_uses_the_patched_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="unpack"):
        body([ROWS["a plain one"]], Compat32(linesep="-"), monkeypatch)
    use_fast_policy()
    assert vars(framing)["HTTP"] is POLICY
