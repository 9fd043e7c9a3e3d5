"""Storage events: recognize requests that write or delete a blob, and describe them in both schemas of Event Grid."""

import itertools
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qs, unquote

from event_grid_emulator.errors import EventGridError

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


# The sequencer orders the writes of one blob. It starts at the current time, so that it grows across restarts.
_sequence = itertools.count(time.time_ns())
RESOURCE_GROUP = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local"


def utc_now() -> str:
    """Return the current time in the format of event times."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True)
class Event:
    """One event. `data` describes the operation; `topic` is the storage account."""

    topic: str
    subject: str
    type: str
    data: Mapping[str, Any]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    time: str = field(default_factory=utc_now)

    @classmethod
    def from_operation(cls, operation: BlobOperation, endpoint: str) -> Self:
        """Create the event of a blob operation. `endpoint` is the base URL that clients use."""
        data: dict[str, Any] = {
            "api": operation.api,
            "clientRequestId": operation.client_request_id,
            "requestId": operation.request_id,
            "eTag": operation.etag,
            "contentType": operation.content_type,
            "contentLength": operation.length or 0,
            "blobType": operation.blob_type,
            "url": endpoint + operation.path,
            "sequencer": f"{next(_sequence):032x}",
            "storageDiagnostics": {"batchId": str(uuid.uuid4())},
        }
        return cls(
            topic=f"{RESOURCE_GROUP}/providers/Microsoft.Storage/storageAccounts/{operation.account}",
            subject=f"/blobServices/default/containers/{operation.container}/blobs/{operation.blob_name}",
            type=operation.event_type,
            data=data,
        )

    @classmethod
    def from_json(cls, document: object) -> Self:
        """Parse an event in either schema.

        Raises:
            EventGridError: A required field is missing.
        """
        try:
            fields: Any = document
            type_key, time_key = ("type", "time") if "specversion" in fields else ("eventType", "eventTime")
            topic = fields.get("topic") or fields.get("source") or ""
            event = cls(topic, fields["subject"], fields[type_key], fields["data"])
            return replace(event, id=fields.get("id") or event.id, time=fields.get(time_key) or event.time)
        except (TypeError, KeyError, AttributeError):
            raise EventGridError("an event must be an object with subject, data, and eventType or type") from None

    def to_json(self, *, cloud: bool) -> dict[str, Any]:
        """Serialize the event as CloudEvents 1.0, or in Event Grid's own schema."""
        common = {"id": self.id, "subject": self.subject, "data": dict(self.data)}
        if cloud:
            return {**common, "source": self.topic, "type": self.type, "time": self.time, "specversion": "1.0"}
        fields = {"topic": self.topic, "eventType": self.type, "eventTime": self.time}
        return {**common, **fields, "dataVersion": "", "metadataVersion": "1"}
