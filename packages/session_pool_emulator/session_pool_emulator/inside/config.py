"""What the server tells the first process of a sandbox: the one message that crosses before anything else."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Limits:
    """What the processes of one session may take together (`memory`, by the server's watch) or each (the rest)."""

    address_space: int  # bytes
    file_size: int  # bytes
    processes: int
    open_files: int


@dataclass(frozen=True)
class Mounts:
    """The file system to build with mount(2): only where no other program (bubblewrap) has built it already."""

    root: str  # an empty directory of the host to build on
    read_only: list[tuple[str, str]]  # host path, path inside
    symlinks: list[tuple[str, str]]  # target, path inside
    tmpfs: list[tuple[str, int]]  # path inside, bytes


@dataclass(frozen=True)
class BootConfig:
    """Everything that the first process needs to know. Paths are as they are seen inside."""

    data: str
    work: str
    scratch: str
    channel: str
    key: str
    uid: int | None
    limits: Limits
    preload: list[str]
    packages: list[str]  # folders that modules are imported from besides the interpreter's own
    mounts: Mounts | None

    def dump(self) -> bytes:
        """As one message for the control socket."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def load(cls, message: bytes) -> BootConfig:
        """The inverse of `dump`."""
        fields = json.loads(message)
        fields["limits"] = Limits(**fields["limits"])
        fields["mounts"] = Mounts(**fields["mounts"]) if fields["mounts"] else None
        return cls(**fields)
