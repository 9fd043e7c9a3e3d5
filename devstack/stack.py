"""Compose the local stack: start storage, session pool and function hosts, and stop them in reverse order."""

import asyncio
import contextlib
import os
import secrets
import shlex
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from ssl import create_default_context
from typing import Any, TypeVar
from urllib.parse import urljoin

import httpx
import psutil

from devstack import azurite, subprocesses
from devstack.certificate import Certificate, write_trust_bundle
from devstack.errors import DevstackError, SubprocessError
from devstack.layout import HOST_PREFIX, Layout, check_scale, groups_of, host_group
from devstack.state import ROOT, STATE_FOLDER
from event_grid_emulator.subscription import app_subscriptions
from functions_host.groups import BLOB_GROUP, HTTP_GROUP

ENV_FILE = STATE_FOLDER / "env"
START_TIMEOUT_SECONDS = 60.0
# The first line of the environment file.
ENV_FILE_OWNER = "# settings of the running stack, process "
HOST_GRACE_SECONDS = 10.0
# The client id of the managed identity that --identity provides.
IDENTITY_CLIENT_ID = "1de00000-0000-4000-8000-000000000001"
CONNECTIONS = ("AzureWebJobsStorage", "IMAGES")
# The emulator has no limit per partition, and a list reads every shard.
LEDGER_SHARDS = "2"
# The container for undelivered events, as in infra/main.bicep.
DEAD_LETTERS = "deadletters"
Output = Callable[[str, str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class StackOptions:
    """Options of the stack.

    Attributes:
        hosts: The number of function hosts (layout `all`).
        layout: Functions of each host.
        scale: The number of hosts by group (layout `azure`); 1 for all others.
        max_sessions: The size of the session pool.
        data: The folder of the storage emulator; None stores everything in memory.
        port: The port of the first function host; 0 selects free ports.
        app: The folder of the function app.
        identity: Use https and a managed identity instead of keys, as on Azure.
        client_id: The client id of the identity.
        token_lifetime: The lifetime of the identity's tokens, in seconds.
        events: Trigger blob functions by Event Grid events instead of scans.
        event_grid_arguments: More arguments for the Event Grid emulator.
    """

    hosts: int = 1
    max_sessions: int = 5
    data: Path | None = azurite.DATA_FOLDER
    port: int = 0
    app: Path = ROOT
    identity: bool = False
    client_id: str = IDENTITY_CLIENT_ID
    token_lifetime: int = 86_400
    events: bool = False
    event_grid_arguments: tuple[str, ...] = ()
    layout: Layout = Layout.ALL
    scale: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Stack:
    """A running stack. `settings` has the environment variables for programs that use it."""

    pool: str
    hosts: tuple[str, ...]
    settings: Mapping[str, str]
    processes: Mapping[str, subprocesses.Subprocess]
    output: Output

    async def failure(self) -> SubprocessError:
        """Wait until the stack cannot work any more. Return the reason: a part or the last host of a group exited."""
        waiting = {asyncio.create_task(each.wait_for_exit()): name for name, each in self.processes.items()}
        try:
            while True:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                task = done.pop()
                name = waiting.pop(task)
                others = [each for each in waiting.values() if host_group(each) == host_group(name)]
                if not (name.startswith(HOST_PREFIX) and others):
                    return task.result()
                self.output("up", f"warning: {task.result().reason}; still running: {', '.join(others)}")
        finally:
            for task in waiting:
                task.cancel()


async def check_recipes(app: Path) -> None:
    """Check settings and recipes before anything starts. Otherwise every part would report the same error.

    Raises:
        DevstackError: The recipes are invalid, or a setting is unknown or invalid.
    """
    if not _has_pipeline(app):
        return
    lines: list[str] = []
    argv = [sys.executable, "-m", "pipeline", "recipes", "check"]
    async with subprocesses.running("recipes", argv, cwd=app, output=lines.append) as process:
        await process.wait_for_exit()
    if process.status != 0:
        raise DevstackError("\n".join(lines))


def _has_pipeline(app: Path) -> bool:
    return (app / "pipeline" / "__main__.py").exists()


@contextlib.asynccontextmanager
async def running(options: StackOptions, output: Output) -> AsyncIterator[Stack]:
    """Run the stack until the block ends. `output` is called with the name of a part and a line of its output.

    Raises:
        DevstackError: A part did not start. All started parts are stopped.
    """
    async with AsyncExitStack() as parts:
        starter = _Starter(parts, options, output)
        storage, pool, identity = await _run_concurrently(starter.storage(), starter.pool(), starter.identity())
        parts_settings = {**storage, **identity, **pool, **starter.trust(), **starter.deployment()}
        settings = {**parts_settings, "PIPELINE_CONSOLE_ACCESS": "open"}
        # The hosts need not wait for the containers: they poll until the containers exist.
        _, hosts = await _run_concurrently(starter.create_containers(settings), starter.hosts(settings))
        await starter.subscribe([url for group, url in hosts if group in ("", BLOB_GROUP)])
        urls = tuple(url for _, url in hosts)
        yield Stack(settings["PIPELINE_POOL_ENDPOINT"], urls, settings, starter.processes, output)


@contextlib.asynccontextmanager
async def running_hosts(
    options: StackOptions, settings: Mapping[str, str], output: Output
) -> AsyncIterator[Mapping[str, subprocesses.Subprocess]]:
    """Run only the function hosts of a stack until the block ends, and yield them by name.

    Raises:
        DevstackError: A host did not start. All started hosts are stopped.
    """
    async with AsyncExitStack() as parts:
        starter = _Starter(parts, options, output)
        await starter.hosts(settings)
        yield starter.processes


async def _run_concurrently(*coroutines: Coroutine[Any, Any, T]) -> list[T]:
    """Return all results. The first error cancels the other coroutines and is raised without a group."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in coroutines]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _identity_connection(name: str, emulator: azurite.Azurite, client_id: str) -> Iterator[tuple[str, str]]:
    """Yield the settings of a connection as on Azure. The empty value hides a connection string of the user's shell."""
    yield name, ""
    for service in azurite.SERVICES:
        yield f"{name}__{service}ServiceUri", getattr(emulator, service)
    yield f"{name}__credential", "managedidentity"
    yield f"{name}__clientId", client_id


class _Starter:
    """Start the parts; closing `parts` stops them. Each method returns the settings or URL that other parts need."""

    def __init__(self, parts: AsyncExitStack, options: StackOptions, output: Output) -> None:
        self.processes: dict[str, subprocesses.Subprocess] = {}
        self._event_grid_url = ""
        self._webhook_key = secrets.token_urlsafe(32)
        self._parts = parts
        self._options = options
        self._output = output
        self._folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="devstack-")))

    async def storage(self) -> dict[str, str]:
        """Start Azurite, and the Event Grid emulator if requested. Return the connections."""
        options, output = self._options, partial(self._output, "azurite")
        certificate = Certificate.create(self._folder, "azurite") if options.identity else None
        emulator = await self._parts.enter_async_context(
            azurite.running(options.data, output=output, certificate=certificate)
        )
        self.processes["azurite"] = emulator.process
        if options.events:
            self._event_grid_url = await self._start_event_grid(emulator.blob, certificate)
            emulator = replace(emulator, blob=self._event_grid_url)
        if not options.identity:
            return dict.fromkeys(CONNECTIONS, emulator.connection_string)
        connections = (_identity_connection(each, emulator, options.client_id) for each in CONNECTIONS)
        return {name: value for connection in connections for name, value in connection}

    async def _start_event_grid(self, blob_url: str, certificate: Certificate | None) -> str:
        """Return the URL that replaces the URL of the blob service."""
        arguments = ["event-grid", "--emulator", blob_url, *self._options.event_grid_arguments]
        if certificate:
            arguments += ["--certificate", str(certificate.file), "--key-file", str(certificate.key)]
        return await self._start("event-grid", arguments, self.trust(), r"event grid ready: (\S+)")

    async def subscribe(self, hosts: list[str]) -> None:
        """Subscribe the blob triggers of the app to events. The hosts must be running for the handshake.

        Raises:
            DevstackError: The Event Grid emulator rejects a subscription.
        """
        if not self._event_grid_url:
            return
        control = f"{urljoin(self._event_grid_url, '/')}.eventgrid/subscriptions"
        tls = create_default_context(cafile=self.trust().get("SSL_CERT_FILE"))
        async with httpx.AsyncClient(verify=tls, timeout=START_TIMEOUT_SECONDS) as client:
            functions = {host: (await client.get(f"{host}/admin/functions")).json() for host in hosts}
            for name, subscription in app_subscriptions(functions, self._webhook_key, DEAD_LETTERS).items():
                response = await client.put(f"{control}/{name}", json=subscription)
                if not response.is_success:
                    raise DevstackError(response.json()["error"]["message"])

    async def pool(self) -> dict[str, str]:
        """Start the session pool emulator. Return the settings of the pool."""
        max_sessions = str(self._options.max_sessions)
        arguments = ["session-pool", "--port", "0", "--max-sessions", max_sessions]
        if self._options.identity:
            arguments += ["--require-token", "--tls", str(self._folder / "pool.pem")]
        endpoint = await self._start("session-pool", arguments, {}, r"session pool ready: (\S+)")
        return {"PIPELINE_POOL_ENDPOINT": endpoint, "PIPELINE_POOL_MAX_SESSIONS": max_sessions}

    async def identity(self) -> dict[str, str]:
        """Start the managed identity endpoint if requested. Return its settings."""
        if not self._options.identity:
            return {}
        header = secrets.token_hex(16)
        arguments = ["identity", "--client-id", self._options.client_id]
        arguments += ["--lifetime", str(self._options.token_lifetime)]
        endpoint = await self._start("identity", arguments, {"IDENTITY_HEADER": header}, r"identity ready: (\S+)")
        return {"IDENTITY_ENDPOINT": endpoint, "IDENTITY_HEADER": header}

    def trust(self) -> dict[str, str]:
        """Return the variables that make programs trust the certificates of the parts, if there are any."""
        if not self._options.identity:
            return {}
        return write_trust_bundle(sorted(self._folder.glob("*.pem")), self._folder / "trust.crt")

    def deployment(self) -> dict[str, str]:
        """Write the deployment number of this stack, unless the app is a package that has one. Return the variable."""
        if (self._options.app / "pipeline" / "deployment.txt").exists():
            return {}
        file = self._folder / "deployment.txt"
        file.write_text(f"{time.time():.0f}")
        return {"DEPLOYMENT_NUMBER_FILE": str(file)}

    async def hosts(self, settings: Mapping[str, str]) -> list[tuple[str, str]]:
        """Start the function hosts of the layout. Return group and URL of each; the first serves HTTP.

        Raises:
            DevstackError: A host did not start, or `scale` names an unknown group.
        """
        if self._options.layout is Layout.ALL:
            hosts = [self._host(settings, "", number) for number in range(self._options.hosts)]
            return await _run_concurrently(*hosts)
        first = await self._host(settings, HTTP_GROUP, 0)
        async with httpx.AsyncClient(timeout=START_TIMEOUT_SECONDS) as client:
            groups = groups_of((await client.get(f"{first[1]}/admin/functions")).json())
        check_scale(self._options.scale, groups)
        names = [group for group in groups for _ in range(self._options.scale.get(group, 1))]
        names.remove(HTTP_GROUP)
        others = [self._host(settings, group, number) for number, group in enumerate(names, 1)]
        return [first, *await _run_concurrently(*others)]

    async def _host(self, settings: Mapping[str, str], group: str, number: int) -> tuple[str, str]:
        """Start a function host. Return its group and its URL."""
        port = self._options.port + number if self._options.port else 0
        arguments = ["host", "--app", str(self._options.app), "--port", str(port), "--grace", f"{HOST_GRACE_SECONDS:g}"]
        if self._event_grid_url:
            arguments += ["--events"]
            settings = {**settings, "FUNCTIONS_HOST_WEBHOOK_KEY": self._webhook_key}
        arguments += ["--group", group] if group else []
        name = f"{HOST_PREFIX}{group}-{number + 1}" if group else f"{HOST_PREFIX}{number + 1}"
        return group, await self._start(name, arguments, settings, r"function host ready: (\S+)")

    async def create_containers(self, settings: Mapping[str, str]) -> list[tuple[str, str]]:
        """Let the pipeline create its containers, queues and tables: only the pipeline knows their names.

        Return no hosts.
        """
        app, output = self._options.app, partial(self._output, "init")
        if _has_pipeline(app):
            argv = [sys.executable, "-m", "pipeline", "init", "--ledger-shards", LEDGER_SHARDS]
            async with subprocesses.running("init", argv, env=settings, cwd=app, output=output) as process:
                exit_error = await process.wait_for_exit()
                if process.status != 0:
                    raise exit_error
        return []

    async def _start(self, name: str, arguments: list[str], settings: Mapping[str, str], ready_pattern: str) -> str:
        """Start a part and return the URL in its ready line."""
        argv, output = [sys.executable, "-m", "devstack", *arguments], partial(self._output, name)
        grace = HOST_GRACE_SECONDS + 5
        program = subprocesses.running(name, argv, env=settings, cwd=ROOT, output=output, grace=grace)
        process = await self._parts.enter_async_context(program)
        self.processes[name] = process
        return (await process.wait_for_line(ready_pattern, START_TIMEOUT_SECONDS))[1]


@contextlib.contextmanager
def environment_file(settings: Mapping[str, str], path: Path = ENV_FILE) -> Iterator[Path]:
    """Write the settings to a file for shells, delete it when the block ends, and yield its path.

    If another running stack owns `path`, the file is next to it, with the id of this process as extension.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path if _is_available(path) else path.with_name(f"{path.name}.{os.getpid()}")
    scratch = path.with_name(f"{path.name}.{os.getpid()}~")
    text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())
    scratch.write_text(f"{ENV_FILE_OWNER}{os.getpid()}\n{text}")
    scratch.replace(path)
    try:
        yield path
    finally:
        if _owner(path) == os.getpid():
            path.unlink(missing_ok=True)


def _is_available(path: Path) -> bool:
    """Return whether no other running stack owns the file."""
    owner = _owner(path)
    return owner in (None, os.getpid()) or not psutil.pid_exists(owner)


def _owner(path: Path) -> int | None:
    """Return the id of the process that wrote the file; None if it is unknown."""
    try:
        return int(path.read_text().splitlines()[0].removeprefix(ENV_FILE_OWNER))
    except (OSError, ValueError, IndexError):
        return None
