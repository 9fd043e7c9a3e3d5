"""Access log: one JSON object per line, for each request and for each change in the life of a session."""

import hashlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path


def short_hash(secret: str) -> str:
    """Return the first 12 digits of the SHA-256 of a secret: a name for an identifier or for code in logs."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()[:12]


class AccessLog:
    """JSON lines log. `session` fields hold `short_hash(identifier)`.

    Events: `call`, `allocated`, `deleted`, `expired`, `lost`, `refused`, `kernel-restarted`, `fault`. An event that
    changes the number of sessions has a field `alive`: the number of sessions after the event, including sessions that
    are still shutting down.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Append to the file `path`, or write to standard error without one."""
        self._file = path.open("a", buffering=1) if path else sys.stderr
        self._owns_file = path is not None

    def write(self, event: str, **fields: object) -> None:
        """Write one event with the current UTC time."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._file.write(json.dumps({"time": moment, "event": event} | fields, separators=(",", ":")) + "\n")

    def close(self) -> None:
        """Close the log file. Standard error stays open."""
        if self._owns_file:
            self._file.close()
