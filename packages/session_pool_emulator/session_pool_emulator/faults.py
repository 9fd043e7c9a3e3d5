"""Bad days on demand: what goes wrong, when, and how often. Seeded, so that a run that failed can be had again."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from typing_extensions import override


class FaultKind(StrEnum):
    """What goes wrong."""

    LATENCY = "latency"  # the call waits: `seconds`, and `per_mb` seconds for each megabyte in or out
    STATUS = "status"  # the call is answered with `code`, and `retry_after` seconds if given
    DROP = "drop"  # the connection closes without an answer
    TRUNCATE = "truncate"  # the connection closes in the middle of the answer's body
    HANG = "hang"  # no answer, ever
    KILL_KERNEL = "kill-kernel"  # the kernel is killed `seconds` after the execution began
    REPLACE_SESSION = "replace-session"  # the session is an empty new one, and nobody says so
    LOSE_FILE = "lose-file"  # a file of the session is gone
    SLOW_START = "slow-start"  # a new session takes `seconds` longer
    CAPACITY = "capacity"  # the pool holds `sessions` at most
    EXPIRE_TOKENS = "expire-tokens"  # tokens from before `before` have expired, with --require-token


# Those that strike no single call.
LASTING = (FaultKind.SLOW_START, FaultKind.CAPACITY, FaultKind.EXPIRE_TOKENS)


@dataclass(frozen=True)
class Fault:
    """One fault: it strikes each matching call with probability `rate`, `next` times at most (0: no end).

    A call matches when its method is `method` and its path contains `on`; both match everything when empty. `before` is
    a moment, in seconds since 1970.
    """

    kind: FaultKind
    rate: float = 1.0
    next: int = 0
    on: str = ""
    method: str = ""
    seconds: float = 0.0
    per_mb: float = 0.0
    code: int = 503
    retry_after: int = 0
    sessions: int = 1
    before: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Fault:
        """From `KIND` or `KIND:key=value,key=value`. Raises ValueError with a message that says what to change."""
        kind, _, rest = text.partition(":")
        if kind not in list(FaultKind):
            raise ValueError(f"unknown fault {kind!r}: it must be one of {', '.join(FaultKind)}")
        values: dict[str, Any] = {}
        for pair in filter(None, rest.split(",")):
            key, _, value = pair.partition("=")
            values[key] = _typed(key, value)
        return cls(FaultKind(kind), **values)._checked()

    def _checked(self) -> Fault:
        if not 0 <= self.rate <= 1 or not 200 <= self.code <= 599 or min(self.next, self.sessions, self.seconds) < 0:
            raise ValueError("rate is from 0 to 1, code from 200 to 599, and no other number is below 0")
        return self

    @override
    def __str__(self) -> str:
        """What `parse` understands."""
        changed = [field for field in fields(self)[1:] if getattr(self, field.name) != field.default]
        options = ",".join(f"{field.name}={getattr(self, field.name)}" for field in changed)
        return f"{self.kind}:{options}" if options else self.kind

    def matches(self, method: str, path: str) -> bool:
        """Whether a call can be struck at all."""
        return self.on in path and self.method.upper() in ("", method)


_TYPES = {"rate": float, "next": int, "on": str, "method": str, "seconds": float, "per_mb": float}
_TYPES |= {"code": int, "retry_after": int, "sessions": int, "before": float}


def _typed(key: str, value: str) -> object:
    if key not in _TYPES:
        raise ValueError(f"unknown option {key!r} of a fault: it must be one of {', '.join(_TYPES)}")
    try:
        return _TYPES[key](value)
    except ValueError:
        raise ValueError(f"the option {key!r} of a fault cannot be {value!r}") from None


class FaultPlan:
    """The faults in force. The same seed and the same calls one after another give the same strikes."""

    def __init__(self, faults: list[Fault], seed: int = 0) -> None:
        self.faults: list[Fault] = []
        self.random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self.set(faults, seed)

    def set(self, faults: list[Fault], seed: int = 0) -> None:
        """Put `faults` in the place of whatever was in force."""
        self.faults = faults
        self.random.seed(seed)

    def strike(self, method: str, path: str) -> list[Fault]:
        """The faults that hit this call."""
        struck = [
            fault
            for fault in self.faults
            if fault.kind not in LASTING and fault.matches(method, path) and self.random.random() < fault.rate
        ]
        for fault in struck:
            self._use_up(fault)
        return struck

    def start_delay(self) -> float:
        """Seconds that the next session takes longer."""
        slow = [fault for fault in self.faults if fault.kind is FaultKind.SLOW_START]
        struck = [fault for fault in slow if self.random.random() < fault.rate]
        for fault in struck:
            self._use_up(fault)
        return sum(fault.seconds for fault in struck)

    def capacity(self, declared: int) -> int:
        """How many sessions the pool holds now."""
        return min([declared, *(fault.sessions for fault in self.faults if fault.kind is FaultKind.CAPACITY)])

    @property
    def oldest_token(self) -> float:
        """When a token must have been given not to have expired."""
        return max((fault.before for fault in self.faults if fault.kind is FaultKind.EXPIRE_TOKENS), default=0.0)

    def _use_up(self, fault: Fault) -> None:
        if fault.next:
            at = self.faults.index(fault)
            self.faults[at : at + 1] = [replace(fault, next=fault.next - 1)] if fault.next > 1 else []
