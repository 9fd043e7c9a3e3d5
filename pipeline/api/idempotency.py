"""`Idempotency-Key`: a request that is sent again with its key leads to what it began, and to no second one.

What a key stands for is noted before anything is begun: which source under which recipe, or the id of a run. Since jobs
themselves are done once per version of their source, that is all there is to keep: no answer, no lock.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.api.problems import BadRequest
from pipeline.services import Services
from pipeline.storage.json_documents import StoredDocument

LONGEST_KEY = 255


@dataclass(frozen=True)
class Key:
    """The key of a request, and what it asks for."""

    text: str
    fingerprint: str

    @property
    def file(self) -> str:
        """Where it is noted: keys may hold anything, and are nobody else's business."""
        return f"{hashlib.sha256(self.text.encode()).hexdigest()}.json"


def checked(text: str) -> str:
    """A key that can be used. BadRequest says why not."""
    if not (text.isascii() and text.isprintable() and len(text) <= LONGEST_KEY):
        raise BadRequest(f"an Idempotency-Key has at most {LONGEST_KEY} printable ASCII characters")
    return text


async def settle(services: Services, key: Key, begins: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """What a key stands for, and whether it was sent before: `begins` when the key is new or expired.

    BadRequest of kind `key_reused` when the key stands for another request.
    """
    note: StoredDocument | None = None
    while True:
        if await services.idempotency.add(key.file, {"fingerprint": key.fingerprint, "begins": begins}, note):
            return begins, False
        note = await services.idempotency.get(key.file)
        found = _stands_for(services, key, note)
        if found is not None:
            return found, True


async def known(services: Services, key: Key) -> dict[str, Any] | None:
    """What a key stands for; None when it is new or expired. BadRequest as above."""
    return _stands_for(services, key, await services.idempotency.get(key.file))


def _stands_for(services: Services, key: Key, note: StoredDocument | None) -> dict[str, Any] | None:
    lives = timedelta(hours=services.settings.idempotency_ttl_hours)
    if note is None or note.written <= datetime.now(UTC) - lives:
        return None
    if note.content["fingerprint"] != key.fingerprint:
        raise BadRequest(
            "this Idempotency-Key was sent with another request: take a new key for a new request", kind="key_reused"
        )
    begins: dict[str, Any] = note.content["begins"]
    return begins


async def delete_expired(services: Services) -> int:
    """Forget the keys that have expired: how many there were."""
    return await services.idempotency.delete_older(timedelta(hours=services.settings.idempotency_ttl_hours))
