"""`Idempotency-Key`: a request that is sent again with its key leads to the job that it began, and to no second one.

What a key stands for is noted before anything is begun: which source under which recipe. Since jobs themselves are done
once per version of their source, that is all there is to keep: no answer, no lock.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipeline.services import Services
from pipeline.storage.notes import Note
from pipeline.storage.queue import Message
from pipeline.web.problems import BadRequest

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


async def settle(services: Services, key: Key, message: Message) -> tuple[Message, bool]:
    """The job that a key stands for, and whether it was asked for before: `message` when the key is new or expired.

    BadRequest of kind `key_reused` when the key stands for another request.
    """
    lives = timedelta(hours=services.settings.idempotency_hours)
    note: Note | None = None
    while True:
        content = {"fingerprint": key.fingerprint, "message": message.model_dump(exclude_defaults=True)}
        if await services.idempotency.add(key.file, content, note):
            return message, False
        note = await services.idempotency.get(key.file)
        if note is not None and note.written > datetime.now(UTC) - lives:
            if note.content["fingerprint"] != key.fingerprint:
                raise BadRequest(
                    "this Idempotency-Key was sent with another request: take a new key for a new request",
                    kind="key_reused",
                )
            return Message.model_validate(note.content["message"]), True


async def sweep(services: Services) -> int:
    """Forget the keys that have expired: how many there were."""
    return await services.idempotency.sweep(timedelta(hours=services.settings.idempotency_hours))
