"""All settings of the emulator."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from session_pool_emulator.faults import Fault

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
