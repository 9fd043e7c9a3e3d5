"""Checkpoint of a blob scan: after a restart no blob is lost and none is delivered again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from functions_host.blob_listing import BlobVersion

# Last-Modified is the time at which the upload began, but a listing shows the blob only after the upload ended.
LOOKBACK = timedelta(minutes=5)


@dataclass(frozen=True)
class Checkpoint:
    """The watermark (latest Last-Modified of all listed blobs), and the blobs seen in the lookback window before it.

    Last-Modified has a resolution of one second. In the lookback window, blobs are recognized by name and ETag.
    """

    watermark: datetime | None = None
    seen: frozenset[str] = frozenset()

    def is_new(self, blob: BlobVersion) -> bool:
        """Return whether no earlier scan has listed this blob version."""
        return self.watermark is None or (self._in_lookback(blob) and _fingerprint(blob) not in self.seen)

    def advanced(self, blobs: Iterable[BlobVersion]) -> Checkpoint:
        """Return the checkpoint after a scan that listed `blobs`, the whole container."""
        blobs = list(blobs)
        times = [blob.last_modified for blob in blobs] + ([self.watermark] if self.watermark else [])
        if not times:
            return self
        moved = Checkpoint(max(times))
        return Checkpoint(moved.watermark, frozenset(_fingerprint(blob) for blob in blobs if moved._in_lookback(blob)))

    def _in_lookback(self, blob: BlobVersion) -> bool:
        return self.watermark is None or blob.last_modified >= self.watermark - LOOKBACK

    def to_json(self) -> bytes:
        """Serialize the checkpoint."""
        watermark = self.watermark.isoformat() if self.watermark else None
        return json.dumps({"watermark": watermark, "seen": sorted(self.seen)}).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Checkpoint:
        """Parse the output of `to_json`."""
        document = json.loads(text)
        watermark = document["watermark"]
        return cls(datetime.fromisoformat(watermark) if watermark else None, frozenset(document["seen"]))


def _fingerprint(blob: BlobVersion) -> str:
    return hashlib.sha256(f"{blob.etag}/{blob.name}".encode()).hexdigest()[:16]
