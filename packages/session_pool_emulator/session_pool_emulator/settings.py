"""All settings of the emulator, and fault injection: kinds, options, and the seeded choice of the requests to hit."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from typing_extensions import override


class FaultKind(StrEnum):
    """Kind of a fault."""

    LATENCY = "latency"  # delay by `seconds`, plus `per_mb` seconds for each megabyte in or out
    STATUS = "status"  # respond with status `code`, and with Retry-After `retry_after` if that is not 0
    DROP = "drop"  # close the connection without a response
    TRUNCATE = "truncate"  # close the connection in the middle of the response body
    HANG = "hang"  # never respond
    KILL_KERNEL = "kill-kernel"  # kill the kernel `seconds` after the start of the execution
    REPLACE_SESSION = "replace-session"  # replace the session with an empty one, without notice
    LOSE_FILE = "lose-file"  # delete a file of the session
    SLOW_START = "slow-start"  # delay the start of a new session by `seconds`
    CAPACITY = "capacity"  # limit the pool to `sessions`
    EXPIRE_TOKENS = "expire-tokens"  # reject tokens issued before `before`; needs --require-token


POOL_FAULTS = (FaultKind.SLOW_START, FaultKind.CAPACITY, FaultKind.EXPIRE_TOKENS)
"""Faults that change the pool instead of single requests."""


@dataclass(frozen=True)
class Fault:
    """Fault that hits each matching request with probability `rate`, at most `next` times (0: no limit).

    A request matches if its method is `method` and its path contains `on`; an empty value matches all. `before` is a
    Unix time in seconds. The comments of `FaultKind` explain the other options.
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
    def parse(cls, text: str) -> Self:
        """Parse `KIND` or `KIND:key=value,key=value`.

        Raises:
            ValueError: The kind, an option or a value is invalid; the message lists the valid ones.
        """
        kind, _, options = text.partition(":")
        if kind not in list(FaultKind):
            raise ValueError(f"unknown fault {kind!r}: use one of {', '.join(FaultKind)}")
        values: dict[str, Any] = {}
        for pair in filter(None, options.split(",")):
            key, _, value = pair.partition("=")
            values[key] = _convert_option(key, value)
        return cls(FaultKind(kind), **values)._validated()

    def _validated(self) -> Self:
        """Return this fault if all numbers are in range; raise ValueError otherwise."""
        if not 0 <= self.rate <= 1 or not 200 <= self.code <= 599 or min(self.next, self.sessions, self.seconds) < 0:
            raise ValueError("rate must be from 0 to 1, code from 200 to 599, and every other number at least 0")
        return self

    @override
    def __str__(self) -> str:
        """Format the fault so that `parse` can read it."""
        changed = [field for field in fields(self)[1:] if getattr(self, field.name) != field.default]
        options = ",".join(f"{field.name}={getattr(self, field.name)}" for field in changed)
        return f"{self.kind}:{options}" if options else self.kind

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request with this method and path can be hit."""
        return self.on in path and self.method.upper() in ("", method)


_OPTION_TYPES: dict[str, Any] = {field.name: type(field.default) for field in fields(Fault)[1:]}


def _convert_option(key: str, value: str) -> object:
    """Convert the text of an option to the type of its field."""
    if key not in _OPTION_TYPES:
        raise ValueError(f"unknown fault option {key!r}: use one of {', '.join(_OPTION_TYPES)}")
    try:
        return _OPTION_TYPES[key](value)
    except ValueError:
        raise ValueError(f"invalid value {value!r} for the fault option {key!r}") from None


class FaultInjector:
    """Active faults. The same seed and the same sequence of requests give the same hits."""

    def __init__(self, faults: list[Fault], seed: int = 0) -> None:
        """Activate `faults`."""
        self.faults: list[Fault] = []
        self.random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self.replace(faults, seed)

    def replace(self, faults: list[Fault], seed: int = 0) -> None:
        """Replace all active faults with `faults` and restart the random sequence with `seed`."""
        self.faults = faults
        self.random.seed(seed)

    def draw(self, method: str, path: str) -> list[Fault]:
        """Choose the faults that hit a request, and count them down."""
        return self._draw(
            fault for fault in list(self.faults) if fault.kind not in POOL_FAULTS and fault.matches(method, path)
        )

    def draw_start_delay(self) -> float:
        """Return the seconds to delay the next session, and count the chosen faults down."""
        slow_starts = self._draw(fault for fault in list(self.faults) if fault.kind is FaultKind.SLOW_START)
        return sum(fault.seconds for fault in slow_starts)

    def limit_capacity(self, max_sessions: int) -> int:
        """Return the lowest of `max_sessions` and the limits of active `capacity` faults."""
        return min([max_sessions, *(fault.sessions for fault in self.faults if fault.kind is FaultKind.CAPACITY)])

    @property
    def tokens_valid_from(self) -> float:
        """Unix time in seconds: tokens issued earlier count as expired. 0 without `expire-tokens` faults."""
        return max((fault.before for fault in self.faults if fault.kind is FaultKind.EXPIRE_TOKENS), default=0.0)

    def _draw(self, candidates: Iterable[Fault]) -> list[Fault]:
        """Choose each candidate with its probability; remove a fault after its last hit."""
        hits = [fault for fault in candidates if self.random.random() < fault.rate]
        for fault in filter(lambda hit: hit.next, hits):
            index = self.faults.index(fault)
            self.faults[index : index + 1] = [replace(fault, next=fault.next - 1)] if fault.next > 1 else []
        return hits


MIB = 1 << 20


class CapacityResponse(StrEnum):
    """Response of a full pool. Each form was observed on the service; `ALLOCATION` is the most frequent."""

    ALLOCATION = "allocation"  # 429 with "Error happened when allocating pod ..."
    ALLOCATION_500 = "allocation-500"  # 500 with the same text
    SESSIONS_COUNT = "sessions-count"  # 429 with the code SessionsCountExceedsLimit
    NOT_FOUND = "not-found"  # 404, according to an older edition of the documentation


class SandboxKind(StrEnum):
    """Isolation of a session. `AUTO` selects the first of the other kinds that starts on this machine."""

    AUTO = "auto"
    BWRAP = "bwrap"
    UNSHARE = "unshare"
    PROCESS = "process"


@dataclass(frozen=True)
class SandboxLimits:
    """Resource limits of one session. The limit on open files applies to each of its processes."""

    memory_bytes: int = 1024 * MIB
    data_bytes: int = 1024 * MIB
    scratch_bytes: int = 256 * MIB
    max_processes: int = 256
    max_open_files: int = 1024

    @property
    def address_space_bytes(self) -> int:
        """Limit on the address space of each process.

        It is far above `memory_bytes`: a backstop for a process that allocates faster than the memory monitor samples.
        """
        return 4 * self.memory_bytes + 2048 * MIB


@dataclass(frozen=True)
class PoolSettings:
    """Settings of a pool.

    Defaults equal the documented limits of the service where these exist: 300 s cooldown, 220 s per execution,
    4,096 characters per output stream, 128 MB per upload.

    With `restart_kernel`, each execution gets a new kernel process; files and other processes of the session survive.
    """

    name: str = "local"
    max_sessions: int = 5
    spares: int = 2
    cooldown_seconds: float = 300.0
    sandbox: SandboxKind = SandboxKind.AUTO
    limits: SandboxLimits = SandboxLimits()
    max_execution_seconds: float = 220.0
    default_execution_seconds: float = 120.0
    max_upload_bytes: int = 128 * MIB
    max_request_bytes: int = 32 * MIB
    start_timeout_seconds: float = 60.0
    preload: tuple[str, ...] = ("PIL.Image",)
    log_file: Path | None = None
    capacity_response: CapacityResponse = CapacityResponse.ALLOCATION
    faults: tuple[Fault, ...] = ()
    fault_seed: int = 0
    require_token: bool = False
    admin: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    packages: Path | None = None
    restart_kernel: bool = False
