"""Collect the renditions of jobs from a listing in any order, in bounded memory.

The renditions of a job may be anywhere in the listing. Incomplete sets wait in memory. If they are too many, only the
jobs of a range of hashes are kept, and the listing is read again for the others.
"""

import hashlib
from statistics import median_low

from pipeline.storage import MarkedBlob

END = 2**64


class RenditionSets:
    """Sets of the renditions of one job and one generation. `most` is the number of renditions that may wait."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[tuple[str, int], dict[str, MarkedBlob]] = {}
        self._count = 0
        self._first, self._end = 0, END

    @property
    def is_first_pass(self) -> bool:
        """True until the listing is read again."""
        return self._first == 0

    def add(self, blob: MarkedBlob) -> list[MarkedBlob] | None:
        """Add a rendition. Returns its set if that is complete now, and forgets it."""
        if not self._first <= _hash(blob.job) < self._end:
            return None
        key = blob.job, blob.mark.generation
        found = self._waiting.setdefault(key, {})
        self._count += blob.mark.rendition not in found
        found[blob.mark.rendition] = blob
        if len(found) == blob.mark.renditions:
            self._count -= len(found)
            return list(self._waiting.pop(key).values())
        if self._count > self._most:
            self._halve()
        return None

    def holds(self, blob: MarkedBlob) -> bool:
        """Return True if this pass decides about the rendition's job."""
        return self._first <= _hash(blob.job) < self._end

    def next_pass(self) -> tuple[int, bool]:
        """Go on to the next range of jobs.

        Returns:
            The number of sets that stayed incomplete, and True if the listing has to be read again.
        """
        incomplete = len(self._waiting)
        self._waiting, self._count = {}, 0
        self._first, self._end = self._end, END
        return incomplete, self._first < END

    def _halve(self) -> None:
        """Leave the upper half of the waiting jobs to a later pass."""
        hashes = {key: _hash(key[0]) for key in self._waiting}
        end = median_low(hashes.values())
        if end <= self._first:
            return  # one job alone has all these renditions
        self._end = end
        self._waiting = {key: found for key, found in self._waiting.items() if hashes[key] < end}
        self._count = sum(map(len, self._waiting.values()))


def _hash(job: str) -> int:
    return int.from_bytes(hashlib.sha256(job.encode()).digest()[:8], "big")
