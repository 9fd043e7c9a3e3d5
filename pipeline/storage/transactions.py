"""Transactions of tables without the SDK's general framing of multipart messages.

The SDK frames a transaction with the e-mail package and an HTTP client of the standard library, and parses the response
with both: most of the CPU time of a transaction. This module joins the same bytes, and reads the ETags of a transaction
that has succeeded. The SDK itself handles every other response. A test compares the bytes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.data.tables.aio import TableClient

_PART = re.compile(rb"^HTTP/1\.1 (\d{3}) [^\r\n]*\r\n(.*?)\r\n\r\n", re.MULTILINE | re.DOTALL)
_ETAG = re.compile(rb"^ETag: ([^\r\n]*)", re.MULTILINE | re.IGNORECASE)
_sdk_batch_send = TableClient._batch_send


def use_fast_transactions() -> None:
    """Apply the patch to this process."""
    setattr(TableClient, "_batch_send", _batch_send)  # noqa: B010 - a private method


def frame(requests: Sequence[HttpRequest], batch: str, changeset: str) -> bytes:
    """Return the body of a transaction with these boundaries."""
    inner = changeset.encode()
    parts = b"".join(
        b"--%b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: %d\r\n\r\n%b\r\n"
        % (inner, number, _serialized(request))
        for number, request in enumerate(requests)
    )
    return b"--%b\r\nContent-Type: multipart/mixed; boundary=%b\r\n\r\n%b--%b--\r\n\r\n--%b--\r\n" % (
        batch.encode(),
        inner,
        parts,
        inner,
        batch.encode(),
    )


def _serialized(request: HttpRequest) -> bytes:
    """Return one operation. All headers are those of the SDK, whose values are ASCII."""
    content: str | bytes = request.content or b""
    lines = [f"{request.method} {request.url} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in request.headers.items() if name != "Host"]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + _encoded(content)


def _encoded(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def etags(body: bytes, count: int) -> list[dict[str, str]] | None:
    """Return the ETag of each operation; None unless all `count` operations have succeeded."""
    parts = _PART.findall(body)
    if len(parts) != count or not all(status.startswith(b"2") for status, _ in parts):
        return None
    found = (_ETAG.search(head) for _, head in parts)
    return [{"etag": match[1].decode()} if match else {} for match in found]


@dataclass(frozen=True)
class _Answered:
    """Stand-in for a client of tables, and for its inner client, whose next response has already arrived."""

    client: Any
    response: AsyncHttpResponse

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - attributes of the SDK's client
        """Return this object as the inner client, and all else of the client itself."""
        return self if name == "_client" else getattr(self.client, name)

    async def send_request(self, request: Any, **_: Any) -> AsyncHttpResponse:  # noqa: ANN401 - has undeclared attributes
        """Return the response, with the SDK's own parts of the request, which match those of the response."""
        sent: Any = self.response.request
        sent.multipart_mixed_info = request.multipart_mixed_info
        return self.response


async def _batch_send(self: Any, table_name: str, *requests: HttpRequest, **options: Any) -> Any:  # noqa: ANN401 - as in the SDK
    """Send a transaction; return the ETags of its operations. Raises the SDK's errors."""
    batch = f"batch_{uuid4()}"
    headers = {
        "x-ms-version": self.api_version,
        "DataServiceVersion": "3.0",
        "MaxDataServiceVersion": "3.0;NetFx",
        "Content-Type": f"multipart/mixed; boundary={batch}",
        "Accept": "application/json",
    }
    url = f"{self.scheme}://{self._primary_hostname}/$batch"
    content = frame(requests, batch, f"changeset_{uuid4()}")
    request = HttpRequest("POST", url, headers=headers, content=content)
    response = await self._client.send_request(request, stream=True, **options)
    body = await response.read()
    found = etags(body, len(requests)) if response.status_code == HTTPStatus.ACCEPTED else None
    if found is not None:
        return found
    return await _sdk_batch_send(_Answered(self, response), table_name, *requests)  # type: ignore[arg-type]
