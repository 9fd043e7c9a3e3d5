"""Every setting of the session pool server in one place."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from session_pool_emulator.faults import Fault

MIB = 1 << 20


class CapacityAnswer(StrEnum):
    """What a call gets when every session is taken: all of these were seen, the first one most."""

    ALLOCATION = "allocation"  # 429, "Error happened when allocating pod ..."
    ALLOCATION_500 = "allocation-500"  # the same text with 500
    SESSIONS_COUNT = "sessions-count"  # 429 SessionsCountExceedsLimit
    NOT_FOUND = "not-found"  # 404, as an older edition of the documentation has it


class SandboxKind(StrEnum):
    """How a session is shut in. `auto` takes the first that works here, from `bwrap` down to `process`."""

    AUTO = "auto"
    BWRAP = "bwrap"
    UNSHARE = "unshare"
    PROCESS = "process"


@dataclass(frozen=True)
class SandboxLimits:
    """What one session may take. Sizes in bytes."""

    memory: int = 1024 * MIB
    data: int = 1024 * MIB
    scratch: int = 256 * MIB
    processes: int = 256
    open_files: int = 1024

    @property
    def address_space(self) -> int:
        """A backstop far above `memory`: nobody can outrun the watch that reads the real use."""
        return 4 * self.memory + 2048 * MIB


@dataclass(frozen=True)
class PoolSettings:
    """What a pool is. Times in seconds, sizes in bytes.

    The defaults are the hosted service's where it has one: cooldown 300 s at least, 220 s per execution, 4,096
    characters per output stream, 128 MB per upload.
    """

    name: str = "local"
    max_sessions: int = 5
    spares: int = 2
    cooldown: float = 300.0
    sandbox: SandboxKind = SandboxKind.AUTO
    limits: SandboxLimits = SandboxLimits()
    max_run: float = 220.0
    default_run: float = 120.0
    max_upload: int = 128 * MIB
    max_request: int = 32 * MIB
    start_timeout: float = 60.0
    preload: tuple[str, ...] = ("PIL.Image",)
    log: Path | None = None
    capacity_answer: CapacityAnswer = CapacityAnswer.ALLOCATION
    faults: tuple[Fault, ...] = ()
    fault_seed: int = 0
    require_token: bool = False
    admin: bool = False
    tls: Path | None = None
    tls_key: Path | None = None
    packages: Path | None = None
