"""The whole embedded Azure: storage, session pool and function hosts, started in order and stopped in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shlex
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from ssl import create_default_context
from urllib.parse import urljoin

import httpx

from devstack import azurite, child
from devstack.certificate import Certificate, trusting
from devstack.errors import ChildError, EventGridError, RecipesError
from devstack.event_grid.subscription import for_functions
from devstack.state import ROOT, STATE, lives
from pipeline.concurrency import gather_or_cancel

ENV_FILE = STATE / "env"
START_TIMEOUT = 60.0
# The first line of the file.
OWNER = "# settings of the running stack, process "
HOST_GRACE = 10.0
HOST = "host-"
# The client id of the managed identity that there is with --identity.
IDENTITY = "1de00000-0000-4000-8000-000000000001"
CONNECTIONS = ("AzureWebJobsStorage", "IMAGES")
Output = Callable[[str, str], None]


@dataclass(frozen=True)
class Options:
    """What to run. `data` is the folder of the storage; None keeps it in memory. Port 0 is any free port.

    With `identity` everything is as it is on Azure: https, no keys, and a managed identity that signs in everywhere,
    whose tokens are good for `token_lifetime` seconds. With `events` Event Grid tells of blobs, in place of a scan;
    `event_grid` are more options for it.
    """

    hosts: int = 1
    max_sessions: int = 5
    data: Path | None = azurite.DATA
    port: int = 0
    app: Path = ROOT
    identity: bool = False
    client_id: str = IDENTITY
    token_lifetime: int = 86_400
    events: bool = False
    event_grid: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stack:
    """A running stack. `settings` are the environment variables that programs need to work with it."""

    pool: str
    hosts: tuple[str, ...]
    settings: Mapping[str, str]
    children: Mapping[str, child.Child]
    output: Output

    async def failure(self) -> ChildError:
        """Wait until the stack can do no more work, and say why: a part ended, or the last of the hosts."""
        waiting = {asyncio.create_task(each.ended()): name for name, each in self.children.items()}
        try:
            while True:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                task = done.pop()
                others = [name for name in waiting.values() if name.startswith(HOST) and name != waiting[task]]
                if not (waiting.pop(task).startswith(HOST) and others):
                    return task.result()
                self.output("up", f"warning: {task.result().what}; {', '.join(others)} goes on without it")
        finally:
            for task in waiting:
                task.cancel()


async def check_recipes(app: Path) -> None:
    """Have the pipeline check its recipes, before anything starts: every part would say the same of them.

    Raises:
        RecipesError: they are not right.
    """
    if not _has_pipeline(app):
        return
    lines: list[str] = []
    argv = [sys.executable, "-m", "pipeline", "recipes", "check"]
    async with child.running("recipes", argv, cwd=app, output=lines.append) as process:
        await process.ended()
    if process.status != 0:
        raise RecipesError("\n".join(lines))


def _has_pipeline(app: Path) -> bool:
    return (app / "pipeline" / "__main__.py").exists()


@contextlib.asynccontextmanager
async def running(options: Options, output: Output) -> AsyncIterator[Stack]:
    """Run the stack for as long as the block lasts; `output` gets the name of a part and a line that it printed.

    Raises:
        DevstackError: a part does not start; what has started is stopped again.
    """
    async with AsyncExitStack() as parts:
        start = _Start(parts, options, output)
        storage, pool, identity = await gather_or_cancel(start.storage(), start.pool(), start.identity())
        settings = {**storage, **identity, **pool, **start.trust(), "PIPELINE_CONSOLE_ACCESS": "open"}
        # Hosts wait for containers that are not there yet.
        hosts = [start.host(number, settings) for number in range(options.hosts)]
        _, *urls = await gather_or_cancel(start.containers(settings), *hosts)
        await start.subscriptions(urls)
        yield Stack(settings["PIPELINE_POOL_ENDPOINT"], tuple(urls), settings, start.children, output)


def _by_identity(connection: str, emulator: azurite.Azurite, options: Options) -> Iterator[tuple[str, str]]:
    """A connection as it is set on Azure. A connection string that a shell may have must not win."""
    yield connection, ""
    for service in azurite.SERVICES:
        yield f"{connection}__{service}ServiceUri", getattr(emulator, service)
    yield f"{connection}__credential", "managedidentity"
    yield f"{connection}__clientId", options.client_id


class _Start:
    """Starts the parts; they end with `parts`. Every start hands over what the others need to know of it."""

    def __init__(self, parts: AsyncExitStack, options: Options, output: Output) -> None:
        self.children: dict[str, child.Child] = {}
        self.events = ""
        self._webhook_key = secrets.token_urlsafe(32)
        self._parts = parts
        self._options = options
        self._output = output
        self._folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="devstack-")))

    async def storage(self) -> dict[str, str]:
        """The connections to the storage account."""
        certificate = Certificate.made(self._folder, "azurite") if self._options.identity else None
        emulator = azurite.running(self._options.data, output=partial(self._output, "azurite"), certificate=certificate)
        running = await self._parts.enter_async_context(emulator)
        self.children["azurite"] = running.process
        if self._options.events:
            running = replace(running, blob=await self._event_grid(running, certificate))
        if not self._options.identity:
            return dict.fromkeys(CONNECTIONS, running.connection_string)
        return {name: value for each in CONNECTIONS for name, value in _by_identity(each, running, self._options)}

    async def _event_grid(self, emulator: azurite.Azurite, certificate: Certificate | None) -> str:
        """The address that takes the place of the emulator's blob service."""
        arguments = ["event-grid", "--emulator", emulator.blob, *self._options.event_grid]
        if certificate:
            arguments += ["--certificate", str(certificate.file), "--key-file", str(certificate.key)]
        self.events = await self._serving("event-grid", arguments, self.trust(), r"event grid ready: (\S+)")
        return self.events

    async def subscriptions(self, hosts: list[str]) -> None:
        """Subscribe the blob triggers of the app: they can take part in the handshake now."""
        if not self.events:
            return
        control = f"{urljoin(self.events, '/')}.eventgrid/subscriptions"
        trust = self.trust().get("SSL_CERT_FILE")
        async with httpx.AsyncClient(verify=create_default_context(cafile=trust), timeout=60) as client:
            functions = [(await client.get(f"{host}/admin/functions")).json() for host in hosts]
            wanted = for_functions(dict(zip(hosts, functions, strict=True)), self._webhook_key)
            for name, subscription in wanted.items():
                answer = await client.put(f"{control}/{name}", json=subscription)
                if not answer.is_success:
                    raise EventGridError(answer.json()["error"]["message"])

    async def pool(self) -> dict[str, str]:
        """The session pool's address and size."""
        arguments = ["session-pool", "--port", "0", "--max-sessions", str(self._options.max_sessions)]
        if self._options.identity:
            arguments += ["--require-token", "--tls", str(self._folder / "pool.pem")]
        endpoint = await self._serving("session-pool", arguments, {}, r"session pool ready: (\S+)")
        return {"PIPELINE_POOL_ENDPOINT": endpoint, "PIPELINE_POOL_MAX_SESSIONS": str(self._options.max_sessions)}

    async def identity(self) -> dict[str, str]:
        """What leads to the identity, when there is one."""
        if not self._options.identity:
            return {}
        header = secrets.token_hex(16)
        arguments = ["identity", "--client-id", self._options.client_id]
        arguments += ["--lifetime", str(self._options.token_lifetime)]
        endpoint = await self._serving("identity", arguments, {"IDENTITY_HEADER": header}, r"identity ready: (\S+)")
        return {"IDENTITY_ENDPOINT": endpoint, "IDENTITY_HEADER": header}

    def trust(self) -> dict[str, str]:
        """What makes programs trust the certificates of the parts, where these have one."""
        return (
            trusting(sorted(self._folder.glob("*.pem")), self._folder / "trust.crt") if self._options.identity else {}
        )

    async def host(self, number: int, settings: Mapping[str, str]) -> str:
        """The address of a function host."""
        port = self._options.port + number if self._options.port else 0
        arguments = ["host", "--app", str(self._options.app), "--port", str(port), "--grace", f"{HOST_GRACE:g}"]
        if self.events:
            arguments += ["--events"]
            settings = {**settings, "DEVSTACK_WEBHOOK_KEY": self._webhook_key}
        return await self._serving(f"{HOST}{number + 1}", arguments, settings, r"function host ready: (\S+)")

    async def containers(self, settings: Mapping[str, str]) -> str:
        """Let the pipeline make its containers, queue and table: what they are called is its own business."""
        app = self._options.app
        if not _has_pipeline(app):
            return ""
        argv = [sys.executable, "-m", "pipeline", "init"]
        async with child.running("init", argv, env=settings, cwd=app, output=partial(self._output, "init")) as process:
            ended = await process.ended()
            if process.status != 0:
                raise ended
        return ""

    async def _serving(self, name: str, arguments: list[str], settings: Mapping[str, str], ready: str) -> str:
        """The address in the ready line of a part."""
        argv = [sys.executable, "-m", "devstack", *arguments]
        grace = HOST_GRACE + 5
        program = child.running(name, argv, env=settings, cwd=ROOT, output=partial(self._output, name), grace=grace)
        process = await self._parts.enter_async_context(program)
        self.children[name] = process
        return (await process.line(ready, START_TIMEOUT))[1]


@contextlib.contextmanager
def environment_file(settings: Mapping[str, str], path: Path = ENV_FILE) -> Iterator[Path]:
    """Keep the settings in a file that a shell can read, for as long as the block lasts; hands over which file it is.

    Where `path` is another running stack's, it is one beside it, whose name ends in this process's id.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path if _is_free(path) else path.with_name(f"{path.name}.{os.getpid()}")
    scratch = path.with_name(f"{path.name}.{os.getpid()}~")
    text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())
    scratch.write_text(f"{OWNER}{os.getpid()}\n{text}")
    scratch.replace(path)
    try:
        yield path
    finally:
        if _owner(path) == os.getpid():
            path.unlink(missing_ok=True)


def _is_free(path: Path) -> bool:
    """Whether no other stack that still runs keeps its settings there."""
    owner = _owner(path)
    return owner in (None, os.getpid()) or not lives(owner)


def _owner(path: Path) -> int | None:
    """The process that wrote the file; None when that is not known."""
    try:
        return int(path.read_text().splitlines()[0].removeprefix(OWNER))
    except (OSError, ValueError, IndexError):
        return None
