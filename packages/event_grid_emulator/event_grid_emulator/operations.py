"""Recognize the Blob REST API requests that write or delete a blob."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self
from urllib.parse import parse_qs, unquote

BLOB_CREATED = "Microsoft.Storage.BlobCreated"
BLOB_DELETED = "Microsoft.Storage.BlobDeleted"
CONTAINERS_WITHOUT_EVENTS = ("$logs", "$blobchangefeed")
# Deleting a snapshot or a version does not delete the blob.
BLOB_PART_PARAMETERS = ("snapshot", "versionid")


@dataclass(frozen=True)
class Exchange:
    """A request and its response. Path and query are still encoded; header names are in lower case."""

    method: str
    path: str
    query: str
    request_headers: Mapping[str, str]
    status: int
    response_headers: Mapping[str, str]


@dataclass(frozen=True)
class BlobOperation:
    """A write or deletion of a blob. `api` names the operation; `length` is None if the request does not contain it."""

    account: str
    container: str
    blob_name: str
    event_type: str
    api: str
    path: str
    etag: str
    content_type: str
    length: int | None
    blob_type: str
    request_id: str
    client_request_id: str

    @classmethod
    def from_exchange(cls, exchange: Exchange) -> Self | None:
        """Return the operation, or None if the request failed or did not write or delete a blob."""
        api = _api(exchange)
        account, _, rest = exchange.path.lstrip("/").partition("/")
        container, _, blob_name = rest.partition("/")
        if api is None or not blob_name or container in CONTAINERS_WITHOUT_EVENTS:
            return None
        request, response = exchange.request_headers, exchange.response_headers
        return cls(
            account=account,
            container=container,
            blob_name=unquote(blob_name),
            event_type=BLOB_DELETED if api == "DeleteBlob" else BLOB_CREATED,
            api=api,
            path=exchange.path,
            etag=response.get("etag", "").strip('"'),
            content_type=_content_type(request, api),
            length=int(request.get("content-length", 0)) if api == "PutBlob" else None,
            blob_type=request.get("x-ms-blob-type", "BlockBlob"),
            request_id=response.get("x-ms-request-id", ""),
            client_request_id=request.get("x-ms-client-request-id", ""),
        )


def _api(exchange: Exchange) -> str | None:
    query = {name.lower(): values[0] for name, values in parse_qs(exchange.query, keep_blank_values=True).items()}
    if not HTTPStatus.OK <= exchange.status < HTTPStatus.MULTIPLE_CHOICES or "restype" in query:
        return None
    comp, headers = query.get("comp"), exchange.request_headers
    if exchange.method == "DELETE":
        return None if comp or any(parameter in query for parameter in BLOB_PART_PARAMETERS) else "DeleteBlob"
    if exchange.method != "PUT":
        return None
    if comp:
        return "PutBlockList" if comp == "blocklist" else None
    return "CopyBlob" if "x-ms-copy-source" in headers and "x-ms-blob-type" not in headers else "PutBlob"


def _content_type(headers: Mapping[str, str], api: str) -> str:
    body_type = headers.get("content-type") if api == "PutBlob" else None
    return headers.get("x-ms-blob-content-type") or body_type or "application/octet-stream"
