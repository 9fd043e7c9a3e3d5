"""Run Azurite, the storage emulator: blobs, queues and tables on 127.0.0.1."""

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

import psutil
import typer

from devstack import node, subprocesses
from devstack.certificate import Certificate
from devstack.errors import SubprocessError
from devstack.run_until_signal import run_until_signal
from devstack.state import STATE_FOLDER

DATA_FOLDER = STATE_FOLDER / "azurite"
ACCOUNT = "devstoreaccount1"
# The key of the emulator is published and the same on every machine: it is no secret.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
SERVICES = ("blob", "queue", "table")
START_TIMEOUT_SECONDS = 60.0
# Longer than any client keeps an idle connection: a server that closes one first may break a request on its way.
KEEP_ALIVE_TIMEOUT_SECONDS = 600
# Azurite saves its index every five seconds and at exit. It gets this time to save when its parent is killed.
SAVE_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Ports:
    """The port of each service; 0 selects a free port."""

    blob: int = 0
    queue: int = 0
    table: int = 0


@dataclass(frozen=True)
class Azurite:
    """A running emulator: the URL of each service, and the process."""

    blob: str
    queue: str
    table: str
    process: subprocesses.Subprocess

    @property
    def connection_string(self) -> str:
        """The connection string for the Azure SDKs and AzureWebJobsStorage."""
        return (
            f"DefaultEndpointsProtocol={urlsplit(self.blob).scheme};AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint={self.blob};QueueEndpoint={self.queue};TableEndpoint={self.table};"
        )


@contextlib.asynccontextmanager
async def running(
    data: Path | None = DATA_FOLDER,
    ports: Ports = Ports(),
    output: Callable[[str], None] = lambda _: None,
    certificate: Certificate | None = None,
) -> AsyncIterator[Azurite]:
    """Run Azurite until the block ends, with its data in the folder `data`, or in memory if that is None.

    A certificate enables https, and then Azurite accepts tokens of an identity as well as the key. The first call on a
    machine installs Azurite, which takes about 30 seconds.

    Raises:
        SubprocessError: Azurite did not start: a port is in use, or the data cannot be read.
        DevstackError: Azurite cannot be installed.
    """
    program = await asyncio.to_thread(node.npm_program, "azurite")
    argv: list[str | Path] = [program.node, program.script, *_arguments(data, ports, certificate)]
    async with _locked_folder(data) as lock:
        orphan_grace = SAVE_GRACE_SECONDS if data else 0
        async with subprocesses.running(
            "azurite", argv, output=output, orphan_grace=orphan_grace, pass_fds=lock
        ) as process:
            blob, queue, table = await _wait_for_urls(process)
            yield Azurite(blob, queue, table, process)


@contextlib.asynccontextmanager
async def _locked_folder(data: Path | None) -> AsyncIterator[list[int]]:
    """Lock the data folder: two emulators would overwrite each other's data. Yield the file descriptor of the lock.

    Azurite inherits the lock. If its parent was killed, wait until the old Azurite has saved its data.
    """
    if data is None:
        yield []
        return
    await asyncio.to_thread(data.mkdir, parents=True, exist_ok=True)
    with (data / "lock").open("a+") as lock:
        deadline = time.monotonic() + SAVE_GRACE_SECONDS + 1
        while not _try_lock(lock):
            if _is_owner_running(lock) or time.monotonic() > deadline:
                raise SubprocessError(f"another Azurite uses {data}: stop it, or choose another folder with --data")
            await asyncio.sleep(0.1)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield [lock.fileno()]


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_owner_running(lock: IO[str]) -> bool:
    """Return whether the process that locked the folder still runs."""
    lock.seek(0)
    owner = lock.read()
    return owner.isdecimal() and psutil.pid_exists(int(owner))


def _arguments(data: Path | None, ports: Ports, certificate: Certificate | None) -> list[str]:
    # The version check would reject current SDKs: they use a newer API version than Azurite knows.
    arguments = ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    for service in SERVICES:
        arguments += [f"--{service}Port", str(getattr(ports, service))]
        arguments += [f"--{service}KeepAliveTimeout", str(KEEP_ALIVE_TIMEOUT_SECONDS)]
    if certificate:
        arguments += ["--oauth", "basic", "--cert", str(certificate.file), "--key", str(certificate.key)]
    return [*arguments, "--inMemoryPersistence"] if data is None else [*arguments, "--location", str(data)]


async def _wait_for_urls(process: subprocesses.Subprocess) -> list[str]:
    patterns = [rf"(?i){service} service is successfully listening at (\S+)" for service in SERVICES]
    matches = await asyncio.gather(*(process.wait_for_line(each, START_TIMEOUT_SECONDS) for each in patterns))
    return [f"{match[1]}/{ACCOUNT}" for match in matches]


def command(
    data: Annotated[Path, typer.Option(help="Folder for blobs, messages and rows.")] = DATA_FOLDER,
    in_memory: Annotated[bool, typer.Option("--in-memory", help="Store nothing on disk.")] = False,
    blob_port: Annotated[int, typer.Option(help="0 selects a free port.")] = 0,
    queue_port: Annotated[int, typer.Option(help="0 selects a free port.")] = 0,
    table_port: Annotated[int, typer.Option(help="0 selects a free port.")] = 0,
) -> None:
    """Run only the storage emulator, until Ctrl-C."""
    run_until_signal(_serve(None if in_memory else data, Ports(blob_port, queue_port, table_port)))


async def _serve(data: Path | None, ports: Ports) -> None:
    async with running(data, ports) as azurite:
        typer.echo(f"azurite ready: {azurite.connection_string}")
        raise await azurite.process.wait_for_exit()
