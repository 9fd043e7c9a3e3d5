"""Idempotency keys: a request that is sent again with its `Idempotency-Key` returns the job or run that it started.

A key is stored before anything starts, with the source and recipe of the job, or with the id of the run. Jobs are
idempotent by their claim, so neither the response nor a lock is stored.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from pipeline.errors import RequestError
from pipeline.storage import DocumentStore, StoredDocument

MAX_KEY_CHARACTERS = 255


@dataclass(frozen=True)
class IdempotencyKey:
    """The idempotency key of a request, and the fingerprint of the request."""

    text: str
    fingerprint: str

    @classmethod
    def of(cls, text: str, fingerprint: str) -> Self | None:
        """Validate the header `Idempotency-Key`; None if it is empty. Raises RequestError if it is invalid."""
        if not (text.isascii() and text.isprintable() and len(text) <= MAX_KEY_CHARACTERS):
            raise RequestError(f"an Idempotency-Key has at most {MAX_KEY_CHARACTERS} printable ASCII characters")
        return cls(text, fingerprint) if text else None

    @property
    def file(self) -> str:
        """Name of the document that stores the key; hashed, because a key may hold any characters and secrets."""
        return f"{hashlib.sha256(self.text.encode()).hexdigest()}.json"


@dataclass(frozen=True)
class IdempotencyKeys:
    """The stored idempotency keys. A key expires `ttl_hours` after it was stored."""

    store: DocumentStore
    ttl_hours: float

    async def reserve(self, key: IdempotencyKey, target: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """Store the target of a key, unless the key has one already.

        Returns:
            The target of the key, and True if an earlier request stored it.

        Raises:
            RequestError: Of kind `key_reused`, if the key was sent with another request.
        """
        document: StoredDocument | None = None
        while True:
            if await self.store.add(key.file, {"fingerprint": key.fingerprint, "target": target}, document):
                return target, False
            document = await self.store.get(key.file)
            stored = self._target(key, document)
            if stored is not None:
                return stored, True

    async def find(self, key: IdempotencyKey) -> dict[str, Any] | None:
        """Return the target of a key; None if the key is new or expired. Raises RequestError as `reserve` does."""
        return self._target(key, await self.store.get(key.file))

    def _target(self, key: IdempotencyKey, document: StoredDocument | None) -> dict[str, Any] | None:
        if document is None or document.written <= datetime.now(UTC) - timedelta(hours=self.ttl_hours):
            return None
        if document.content["fingerprint"] != key.fingerprint:
            raise RequestError(
                "this Idempotency-Key was sent with another request: use a new key for a new request", kind="key_reused"
            )
        target: dict[str, Any] = document.content["target"]
        return target
