"""The access log: one JSON object per line, one line per call and per change in the life of a session."""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path


def short(secret: str) -> str:
    """A name for a secret (an identifier, a piece of code) that does not give it away: 12 digits of its SHA-256."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()[:12]


class AccessLog:
    """Writes to `path`, or to standard error when there is none. `session` fields hold `short(identifier)`.

    Events: `call`, `allocated`, `deleted`, `expired`, `lost`, `refused`, `kernel-restarted`, `fault`. Those that change
    the number of sessions carry `alive`: how many there are after it, those that are just being ended included.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._file = path.open("a", buffering=1) if path else sys.stderr
        self._owned = path is not None

    def write(self, event: str, **fields: object) -> None:
        """One line."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._file.write(json.dumps({"time": moment, "event": event} | fields, separators=(",", ":")) + "\n")

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._owned:
            self._file.close()
