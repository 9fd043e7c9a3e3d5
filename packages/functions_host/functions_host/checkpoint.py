"""Which blobs of a container are new: what a scan must remember so that a restart neither loses nor replays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from devstack.host.listing import Listed

# A blob is stamped with the time at which its upload began, and seen when it has ended: look back that far.
MARGIN = timedelta(minutes=5)


@dataclass(frozen=True)
class Checkpoint:
    """The latest Last-Modified that was seen, and what was seen within the margin before it.

    Whole seconds are all that Last-Modified has: within the margin a blob is known by its name and ETag.
    """

    watermark: datetime | None = None
    seen: frozenset[str] = frozenset()

    def is_new(self, blob: Listed) -> bool:
        """Whether this version of a blob has not been seen."""
        return self.watermark is None or (self._within_margin(blob) and _key(blob) not in self.seen)

    def after(self, blobs: Iterable[Listed]) -> Checkpoint:
        """The checkpoint when all these, the whole container, have been seen."""
        blobs = list(blobs)
        latest = [blob.last_modified for blob in blobs] + ([self.watermark] if self.watermark else [])
        if not latest:
            return self
        moved = Checkpoint(max(latest))
        return Checkpoint(moved.watermark, frozenset(_key(blob) for blob in blobs if moved._within_margin(blob)))

    def _within_margin(self, blob: Listed) -> bool:
        return self.watermark is None or blob.last_modified >= self.watermark - MARGIN

    def dump(self) -> bytes:
        """As JSON."""
        mark = self.watermark.isoformat() if self.watermark else None
        return json.dumps({"watermark": mark, "seen": sorted(self.seen)}).encode()

    @classmethod
    def load(cls, text: bytes) -> Checkpoint:
        """Read what `dump` wrote."""
        document = json.loads(text)
        mark = document["watermark"]
        return cls(datetime.fromisoformat(mark) if mark else None, frozenset(document["seen"]))


def _key(blob: Listed) -> str:
    return hashlib.sha256(f"{blob.etag}/{blob.name}".encode()).hexdigest()[:16]
