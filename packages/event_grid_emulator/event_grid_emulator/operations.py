"""Which calls of the Blob REST API write or delete a blob, and what storage tells Event Grid of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self
from urllib.parse import parse_qs, unquote

CREATED = "Microsoft.Storage.BlobCreated"
DELETED = "Microsoft.Storage.BlobDeleted"
SILENT = ("$logs", "$blobchangefeed")
# A snapshot or a version of a blob is not the blob.
PARTS = ("snapshot", "versionid")


@dataclass(frozen=True)
class Call:
    """A call that succeeded: the path and query as they were sent, and the headers, by names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    status: int
    answered: Mapping[str, str]


@dataclass(frozen=True)
class Written:
    """A blob that was written or deleted, by which call (`api`). `length` is None where the call does not tell."""

    account: str
    container: str
    name: str
    type: str
    api: str
    path: str
    etag: str
    content_type: str
    length: int | None
    blob_type: str
    request_id: str
    client_request_id: str

    @classmethod
    def by(cls, call: Call) -> Self | None:
        """What a call wrote; None for all calls but a few."""
        api = _api(call)
        account, _, rest = call.path.lstrip("/").partition("/")
        container, _, name = rest.partition("/")
        if api is None or not name or container in SILENT:
            return None
        return cls(
            account=account,
            container=container,
            name=unquote(name),
            type=DELETED if api == "DeleteBlob" else CREATED,
            api=api,
            path=call.path,
            etag=call.answered.get("etag", "").strip('"'),
            content_type=_content_type(call, api),
            length=int(call.headers.get("content-length", 0)) if api == "PutBlob" else None,
            blob_type=call.headers.get("x-ms-blob-type", "BlockBlob"),
            request_id=call.answered.get("x-ms-request-id", ""),
            client_request_id=call.headers.get("x-ms-client-request-id", ""),
        )


def _api(call: Call) -> str | None:
    query = {name.lower(): values[0] for name, values in parse_qs(call.query, keep_blank_values=True).items()}
    if not HTTPStatus.OK <= call.status < HTTPStatus.MULTIPLE_CHOICES or "restype" in query:
        return None
    comp = query.get("comp")
    if call.method == "DELETE":
        return None if comp or any(part in query for part in PARTS) else "DeleteBlob"
    if call.method != "PUT":
        return None
    if comp:
        return "PutBlockList" if comp == "blocklist" else None
    return "CopyBlob" if "x-ms-copy-source" in call.headers and "x-ms-blob-type" not in call.headers else "PutBlob"


def _content_type(call: Call, api: str) -> str:
    named = call.headers.get("x-ms-blob-content-type")
    sent = call.headers.get("content-type") if api == "PutBlob" else None
    return named or sent or "application/octet-stream"
