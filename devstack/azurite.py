"""Azurite, the storage emulator: blobs, queues and tables on 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated
from urllib.parse import urlsplit

import typer

from devstack import child, foreground, node
from devstack.certificate import Certificate
from devstack.errors import ChildError
from devstack.state import STATE, lives

DATA = STATE / "azurite"
ACCOUNT = "devstoreaccount1"
# The emulator's account and key are the same everywhere and published: no secret.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
SERVICES = ("blob", "queue", "table")
START_TIMEOUT = 60.0
# Longer than any client keeps a quiet connection, so that none is closed just as a request goes out on it.
KEEP_ALIVE = 600
# It saves its index every five seconds, and at its end: so much time it has for that when this process was killed.
FAREWELL = 5.0


@dataclass(frozen=True)
class Ports:
    """Where each service listens; 0 is any free port."""

    blob: int = 0
    queue: int = 0
    table: int = 0


@dataclass(frozen=True)
class Azurite:
    """A running emulator."""

    blob: str
    queue: str
    table: str
    process: child.Child

    @property
    def connection_string(self) -> str:
        """What the Azure SDKs take, and what goes into AzureWebJobsStorage."""
        return (
            f"DefaultEndpointsProtocol={urlsplit(self.blob).scheme};AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint={self.blob};QueueEndpoint={self.queue};TableEndpoint={self.table};"
        )


@contextlib.asynccontextmanager
async def running(
    data: Path | None = DATA,
    ports: Ports = Ports(),
    output: Callable[[str], None] = lambda _: None,
    certificate: Certificate | None = None,
) -> AsyncIterator[Azurite]:
    """Run Azurite for as long as the block lasts, with its data in the folder `data`, or in memory when that is None.

    With a certificate it is https, and an identity's tokens are as good as the key. The first time on a machine it is
    installed (about half a minute).

    Raises:
        ChildError: it did not start: a port is taken, or the data cannot be read.
        NodeError: it cannot be installed.
    """
    package = await asyncio.to_thread(node.package, "azurite")
    argv: list[str | Path] = [package.node, package.script, *_options(data, ports, certificate)]
    async with _owned(data) as lock:
        farewell = FAREWELL if data else 0
        async with child.running("azurite", argv, output=output, farewell=farewell, keeps=lock) as process:
            blob, queue, table = await _listening(process)
            yield Azurite(blob, queue, table, process)


@contextlib.asynccontextmanager
async def _owned(data: Path | None) -> AsyncIterator[list[int]]:
    """The lock of a folder: two emulators would overwrite each other's data.

    The emulator itself holds it as well. One that still saves, because its owner was killed, is waited for.
    """
    if data is None:
        yield []
        return
    await asyncio.to_thread(data.mkdir, parents=True, exist_ok=True)
    with (data / "lock").open("a+") as lock:
        latest = time.monotonic() + FAREWELL + 1
        while not _locked(lock):
            if _owner_lives(lock) or time.monotonic() > latest:
                raise ChildError(f"another Azurite runs on {data}: stop it, or choose another folder with --data")
            await asyncio.sleep(0.1)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield [lock.fileno()]


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner_lives(lock: IO[str]) -> bool:
    """Whether the process that made the lock its own is there."""
    lock.seek(0)
    owner = lock.read()
    return owner.isdecimal() and lives(int(owner))


def _options(data: Path | None, ports: Ports, certificate: Certificate | None) -> list[str]:
    # The check would refuse today's SDKs, which speak a newer version of the API than Azurite knows.
    options = ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    for service in SERVICES:
        options += [f"--{service}Port", str(getattr(ports, service)), f"--{service}KeepAliveTimeout", str(KEEP_ALIVE)]
    if certificate:
        options += ["--oauth", "basic", "--cert", str(certificate.file), "--key", str(certificate.key)]
    return [*options, "--inMemoryPersistence"] if data is None else [*options, "--location", str(data)]


async def _listening(process: child.Child) -> list[str]:
    lines = [rf"(?i){service} service is successfully listening at (\S+)" for service in SERVICES]
    found = await asyncio.gather(*(process.line(line, START_TIMEOUT) for line in lines))
    return [f"{match[1]}/{ACCOUNT}" for match in found]


def command(
    data: Annotated[Path, typer.Option(help="Folder that keeps the blobs, messages and rows.")] = DATA,
    in_memory: Annotated[bool, typer.Option("--in-memory", help="Keep nothing.")] = False,
    blob_port: Annotated[int, typer.Option(help="0 is any free port.")] = 0,
    queue_port: Annotated[int, typer.Option(help="0 is any free port.")] = 0,
    table_port: Annotated[int, typer.Option(help="0 is any free port.")] = 0,
) -> None:
    """Run the storage emulator alone, until Ctrl-C."""
    foreground.run(_serve(None if in_memory else data, Ports(blob_port, queue_port, table_port)))


async def _serve(data: Path | None, ports: Ports) -> None:
    async with running(data, ports) as azurite:
        typer.echo(f"azurite ready: {azurite.connection_string}")
        raise await azurite.process.ended()
