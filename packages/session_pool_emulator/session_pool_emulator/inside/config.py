"""Configuration of a sandbox: the first message from the server to the first process."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Limits:
    """Resource limits of each process of a session. The number of processes is per user."""

    address_space_bytes: int
    file_size_bytes: int
    processes: int
    open_files: int


@dataclass(frozen=True)
class Mounts:
    """File system to build with mount(2). Needed only if bubblewrap has not built it."""

    root: str  # an empty folder of the host to build on
    read_only: list[tuple[str, str]]  # host path, path inside
    symlinks: list[tuple[str, str]]  # target, path inside
    tmpfs: list[tuple[str, int]]  # path inside, size in bytes


@dataclass(frozen=True)
class BootConfig:
    """Configuration of the first process. Paths are paths inside the sandbox."""

    data: str
    work: str
    scratch: str
    channel: str
    key: str
    uid: int | None
    limits: Limits
    preload: list[str]
    packages: list[str]  # additional folders to import modules from
    startup_files: bool  # whether a new kernel reads the start-up files of IPython and Python in the home folder
    mounts: Mounts | None

    def dump(self) -> bytes:
        """Encode the configuration as one message for the control socket."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def load(cls, message: bytes) -> BootConfig:
        """Decode a message of `dump`."""
        fields = json.loads(message)
        fields["limits"] = Limits(**fields["limits"])
        fields["mounts"] = Mounts(**fields["mounts"]) if fields["mounts"] else None
        return cls(**fields)
