"""Storage events in the two schemas of Event Grid."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self

from event_grid_emulator.errors import EventGridError
from event_grid_emulator.operations import BlobOperation

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

    def with_api(self, api: str) -> Event:
        """Return another event of the same write. Accounts with hierarchical namespace send several per upload."""
        return replace(self, id=str(uuid.uuid4()), data={**self.data, "api": api})

    def to_json(self, *, cloud: bool) -> dict[str, Any]:
        """Serialize the event as CloudEvents 1.0, or in Event Grid's own schema."""
        common = {"id": self.id, "subject": self.subject, "data": dict(self.data)}
        if cloud:
            return {**common, "source": self.topic, "type": self.type, "time": self.time, "specversion": "1.0"}
        fields = {"topic": self.topic, "eventType": self.type, "eventTime": self.time}
        return {**common, **fields, "dataVersion": "", "metadataVersion": "1"}
