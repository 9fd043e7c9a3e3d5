"""Stack of a chaos test: storage behind proxies, a session pool, two function hosts and the identity service.

Pool, storage and hosts are programs that the test kills and starts at will.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from devstack import azurite as emulator
from devstack import subprocesses
from devstack.certificate import Certificate, write_trust_bundle
from devstack.errors import SubprocessError
from tests.chaos.account import Account
from tests.chaos.deployments import Deployments
from tests.chaos.identity import Identity
from tests.chaos.pictures import MAX_PIXELS
from tests.chaos.proxy import Proxy
from tests.chaos.scaled import MAX_ATTEMPTS, outage_seconds

SESSIONS = 3
LEASE = 15
SKEW = LEASE + 5
START = 90
# Azurite writes to its disk every five seconds; acknowledged writes are safe after that.
WRITTEN_DOWN = 7
DEAD_LETTERS = "deadletters"
HOSTS = ("one", "two")
NAMES = {
    "PIPELINE_INPUT_CONTAINER": "input",
    "PIPELINE_OUTPUT_CONTAINER": "output",
    "PIPELINE_UPLOAD_CONTAINER": "uploads",
    "PIPELINE_ASSET_CONTAINER": "assets",
    "PIPELINE_STATE_CONTAINER": "state",
    "PIPELINE_JOB_QUEUE": "jobs",
    "PIPELINE_LEDGER_TABLE": "ledger",
}
SETTINGS = {
    "AzureFunctionsWebHost__hostid": "chaos",
    "PIPELINE_POOL_MAX_SESSIONS": str(SESSIONS),
    "PIPELINE_POOL_COOLDOWN": "20",
    "PIPELINE_SLOT_LEASE_DURATION": str(LEASE),
    "PIPELINE_CLAIM_TTL": str(LEASE),
    "PIPELINE_SLOT_ACQUIRE_TIMEOUT": "20",
    "PIPELINE_SESSION_MAX_JOBS": "25",
    "PIPELINE_SESSION_IDLE_TIMEOUT": "20",
    "PIPELINE_EXECUTION_TIMEOUT": "15",
    "PIPELINE_TRANSFER_TIMEOUT": "4",
    "PIPELINE_RETRY_TIMEOUT": "8",
    "PIPELINE_MAX_ATTEMPTS": str(MAX_ATTEMPTS),
    "PIPELINE_MAX_PIXELS": str(MAX_PIXELS),
}


@dataclass
class Part:
    """A program that can be killed, frozen and restarted."""

    name: str
    argv: list[str | Path]
    ready: str
    environ: Mapping[str, str]
    log: Path
    process: subprocesses.Subprocess | None = None
    address: str = ""
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self) -> str:
        """Start the program; return its address."""
        log = self.log.open("a")
        self._stack.callback(log.close)
        program = subprocesses.running(
            self.name, self.argv, env=self.environ, output=lambda line: print(line, file=log, flush=True), grace=30
        )
        self.process = await self._stack.enter_async_context(program)
        self.address = (await self.process.wait_for_line(self.ready, START))[1]
        return self.address

    async def restart(self) -> None:
        """Start the program until it stays: without a token it exits at once, and a platform restarts it as well."""
        async with asyncio.timeout(START):
            while True:
                try:
                    await self.start()
                except SubprocessError:
                    await self.stop()
                    await asyncio.sleep(1)
                else:
                    return

    async def stop(self) -> None:
        """Stop the program and wait for its end."""
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    async def kill(self) -> None:
        """Kill the program with SIGKILL and wait for its end."""
        assert self.process is not None
        self.process.kill()
        await self.stop()

    @contextlib.contextmanager
    def frozen(self) -> Any:
        """Freeze the program within the block, like a machine that swaps or a container that is moved."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGCONT)


@dataclass
class Scene:
    """All parts, the proxies in front of storage, and the account behind them.

    `outages` lists the past outages with their beginnings and ends, `deployed` the times of deployments, `side_by_side`
    the periods in which the hosts had different ones. Such a period has begun at `differ_since`, or it is None.
    `stopped` holds the periods in which deployments stopped a host, and with it the jobs that it was executing.
    """

    folder: Path
    pace: Pace
    account: Account
    proxies: dict[str, Proxy]
    storage: Storage
    pool: Part
    hosts: list[Part]
    deployments: Deployments
    environ: dict[str, str]
    endpoint: str
    identity: Identity
    http: httpx.AsyncClient
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    outages: list[tuple[str, float, float]] = field(default_factory=list)
    deployed: list[float] = field(default_factory=list)
    side_by_side: list[tuple[float, float]] = field(default_factory=list)
    differ_since: float | None = None
    stopped: list[tuple[float, float]] = field(default_factory=list)

    @property
    def pool_log(self) -> Path:
        """The access log of the pool."""
        return self.folder / "pool-access.log"

    def pool_events(self) -> list[dict[str, Any]]:
        """Return the events of all processes of the pool; truncated lines are ignored."""
        events = []
        for line in self.pool_log.read_text().splitlines():
            with contextlib.suppress(ValueError):
                events.append(json.loads(line))
        return events

    @property
    def runs_log(self) -> Path:
        """The record of executions (see `marked`)."""
        return self.folder / "runs.jsonl"

    async def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Call the pool directly."""
        return await self.http.request(method, f"{self.endpoint}{path}", headers=self.identity.header(), **options)

    async def arm(self, fault: str) -> None:
        """Add a fault to the pool's faults."""
        await self._set_faults([*await self._faults(), fault])

    async def disarm(self, fault: str) -> None:
        """Remove a fault of the pool that has no limit."""
        await self._set_faults([each for each in await self._faults() if each != fault])

    async def _faults(self) -> list[str]:
        return list((await self.call("GET", "/.admin/faults")).json()["faults"])

    async def _set_faults(self, faults: list[str]) -> None:
        (await self.call("PUT", "/.admin/faults", json={"faults": faults})).raise_for_status()

    async def calm(self) -> None:
        """Remove all faults."""
        for proxy in self.proxies.values():
            proxy.calm()
        self.identity.calm()
        (await self.call("DELETE", "/.admin/faults")).raise_for_status()

    def kernels(self) -> list[psutil.Process]:
        """Return the interpreters in the pool's sandboxes."""
        assert self.pool.process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            below = psutil.Process(self.pool.process.pid).children(recursive=True)
            return [each for each in below if each.is_running() and not each.children()]
        return []


class Storage:
    """The emulator, with the same ports and data after every restart."""

    def __init__(self, data: Path, log: Path, certificate: Certificate) -> None:
        self._data, self._log, self._certificate = data, log, certificate
        self._ports = emulator.Ports()
        self._stack = AsyncExitStack()
        self._process: subprocesses.Subprocess | None = None

    async def start(self) -> emulator.Azurite:
        """Start the emulator."""
        log = self._log.open("a")
        self._stack.callback(log.close)
        running = await self._stack.enter_async_context(
            emulator.running(
                self._data,
                self._ports,
                output=lambda line: print(line, file=log, flush=True),
                certificate=self._certificate,
            )
        )
        self._ports = emulator.Ports(
            *(urlsplit(each).port or 0 for each in (running.blob, running.queue, running.table))
        )
        self._process = running.process
        return running

    async def stop(self) -> None:
        """Stop the emulator."""
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    async def kill(self) -> None:
        """Kill the emulator with SIGKILL."""
        assert self._process is not None
        self._process.kill()
        await self.stop()


@dataclass(frozen=True)
class Pace:
    """Settings that decide how long a run takes: the requeue delay in seconds, schedule and cap of scheduled runs."""

    requeue_delay: float
    schedule: str
    schedule_max_jobs: int

    @property
    def outage(self) -> float:
        """The duration of an outage in seconds."""
        return outage_seconds(self.requeue_delay)

    @property
    def settings(self) -> dict[str, str]:
        """The settings of the app."""
        return {
            "PIPELINE_REQUEUE_DELAY": str(self.requeue_delay),
            "PIPELINE_SCHEDULE": self.schedule,
            "PIPELINE_SCHEDULE_MAX_JOBS": str(self.schedule_max_jobs),
        }


@contextlib.asynccontextmanager
async def opened(folder: Path, pace: Pace, skew: int = SKEW) -> AsyncIterator[Scene]:
    """Run all parts within the block; the logs remain in `folder`. The clock of the second host is `skew` s ahead."""
    async with AsyncExitStack() as stack:
        certificate = Certificate.create(folder, "this-machine")
        trust = write_trust_bundle([certificate.file], folder / "trust.crt")
        storage = Storage(folder / "azurite", folder / "azurite.log", certificate)
        stack.push_async_callback(storage.stop)
        azurite = await storage.start()
        proxies = {name: Proxy(getattr(azurite, name), certificate) for name in emulator.SERVICES}
        for proxy in proxies.values():
            await stack.enter_async_context(proxy.serving())
        identity = Identity()
        await stack.enter_async_context(identity.serving())
        pool = _pool(folder, certificate)
        stack.push_async_callback(pool.stop)
        endpoint = await pool.start()
        pool.argv += ["--port", str(urlsplit(endpoint).port)]
        deployments = Deployments(folder, HOSTS)
        environ = {**NAMES, **SETTINGS, **pace.settings, "PIPELINE_RECIPES": str(deployments.recipe_file(HOSTS[0]))}
        environ |= {"PIPELINE_POOL_ENDPOINT": endpoint, **identity.variables, **trust, **dict(_connections(proxies))}
        await made(environ)
        hosts = [_host(deployments, name, environ, ahead) for name, ahead in zip(HOSTS, (0, skew), strict=True)]
        for host in hosts:
            stack.push_async_callback(host.stop)
        await asyncio.gather(*(host.start() for host in hosts))
        verify = ssl.create_default_context(cafile=certificate.file)
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=30, trust_env=False, verify=verify))
        account = Account(azurite.connection_string, str(certificate.file))
        yield Scene(
            folder, pace, account, proxies, storage, pool, hosts, deployments, environ, endpoint, identity, http
        )


def _connections(proxies: Mapping[str, Proxy]) -> Iterator[tuple[str, str]]:
    """Return connection settings: storage by identity, as on Azure, and only through the proxies."""
    for connection in ("IMAGES", "AzureWebJobsStorage"):
        yield connection, ""
        yield f"{connection}__credential", "managedidentity"
        for service, proxy in proxies.items():
            yield f"{connection}__{service}ServiceUri", proxy.address


async def made(environ: Mapping[str, str]) -> None:
    """Create the containers, queues and tables with the pipeline's command."""
    await pipeline(environ, "init")


async def pipeline(environ: Mapping[str, str], *arguments: str) -> None:
    """Run a command of the pipeline to its end."""
    argv = [sys.executable, "-m", "pipeline", *arguments]
    async with subprocesses.running("pipeline", argv, env=environ) as process:
        ended = await process.wait_for_exit()
        if process.status != 0:
            raise ended


def _pool(folder: Path, certificate: Certificate) -> Part:
    log, runs = folder / "pool-access.log", folder / "runs.jsonl"
    options = ["--max-sessions", str(SESSIONS), "--spares", "1", "--cooldown", "20", "--data", "32", "--admin"]
    options += ["--require-token", "--tls", str(certificate.file), "--tls-key", str(certificate.key)]
    argv = [sys.executable, "-m", "tests.chaos.marked", runs, "session-pool", *options, "--log", log]
    return Part("session pool", argv, r"session pool ready: (\S+)", {}, folder / "pool.log")


def _host(deployments: Deployments, name: str, environ: dict[str, str], skew: int) -> Part:
    argv = [sys.executable, "-m", "tests.chaos.host", str(skew), str(deployments.number_file(name))]
    argv += ["host", "--events", "--poll", "0.3", "--hidden", "8", "--grace", "4"]
    own = {**environ, "PIPELINE_RECIPES": str(deployments.recipe_file(name))}
    return Part(name, argv, r"function host ready: (\S+)", own, deployments.folder / f"host-{name}.log")
