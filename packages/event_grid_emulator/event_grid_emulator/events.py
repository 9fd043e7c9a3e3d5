"""Events of a storage account, in the two shapes that Event Grid delivers them in."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self

from devstack.errors import EventGridError
from devstack.event_grid.operations import Written

# Larger for every event, also after a restart: names the order of the writes of one blob.
_sequence = itertools.count(time.time_ns())
SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local"


@dataclass(frozen=True)
class Event:
    """One event. `data` is what storage says; `topic` is the account."""

    topic: str
    subject: str
    type: str
    data: Mapping[str, Any]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat().replace("+00:00", "Z"))

    @classmethod
    def of(cls, written: Written, endpoint: str) -> Self:
        """What storage says about a blob; `endpoint` is the address that clients use."""
        data: dict[str, Any] = {
            "api": written.api,
            "clientRequestId": written.client_request_id,
            "requestId": written.request_id,
            "eTag": written.etag,
            "contentType": written.content_type,
            "contentLength": written.length or 0,
            "blobType": written.blob_type,
            "url": endpoint + written.path,
            "sequencer": f"{next(_sequence):032x}",
            "storageDiagnostics": {"batchId": str(uuid.uuid4())},
        }
        return cls(
            topic=f"{SUBSCRIPTION}/providers/Microsoft.Storage/storageAccounts/{written.account}",
            subject=f"/blobServices/default/containers/{written.container}/blobs/{written.name}",
            type=written.type,
            data=data,
        )

    @classmethod
    def read(cls, document: object) -> Self:
        """An event that somebody wrote by hand, in either shape.

        Raises:
            EventGridError: it is none.
        """
        try:
            known: Any = document
            kind, at = ("type", "time") if "specversion" in known else ("eventType", "eventTime")
            made = cls(known.get("topic") or known.get("source") or "", known["subject"], known[kind], known["data"])
            return replace(made, id=known.get("id") or made.id, time=known.get(at) or made.time)
        except (TypeError, KeyError, AttributeError):
            raise EventGridError("an event must be an object with subject, data, and eventType or type") from None

    def again(self, api: str) -> Event:
        """Another event of the same write, by another call: what accounts with folders send for one upload."""
        return replace(self, id=str(uuid.uuid4()), data={**self.data, "api": api})

    def dump(self, *, cloud: bool) -> dict[str, Any]:
        """As CloudEvents 1.0, or as Event Grid's own schema."""
        both = {"id": self.id, "subject": self.subject, "data": dict(self.data)}
        if cloud:
            return {**both, "source": self.topic, "type": self.type, "time": self.time, "specversion": "1.0"}
        named = {"topic": self.topic, "eventType": self.type, "eventTime": self.time}
        return {**both, **named, "dataVersion": "", "metadataVersion": "1"}
