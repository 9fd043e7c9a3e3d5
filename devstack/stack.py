"""The whole embedded Azure: storage, session pool and function hosts, started in order and stopped in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from devstack import azurite, child
from devstack.errors import ChildError
from devstack.state import ROOT, STATE
from pipeline.together import together

ENV_FILE = STATE / "env"
START_TIMEOUT = 60.0
HOST_GRACE = 10.0


@dataclass(frozen=True)
class Options:
    """What to run. `data` is the folder of the storage; None keeps it in memory. Port 0 is any free port."""

    hosts: int = 1
    max_sessions: int = 5
    data: Path | None = azurite.DATA
    port: int = 0
    app: Path = ROOT


@dataclass(frozen=True)
class Stack:
    """A running stack. `settings` are the environment variables that programs need to work with it."""

    storage: azurite.Azurite
    pool: str
    hosts: tuple[str, ...]
    settings: Mapping[str, str]
    children: tuple[child.Child, ...]

    async def failure(self) -> ChildError:
        """Wait until a part of the stack ends by itself, and say how."""
        waiting = [asyncio.create_task(each.ended()) for each in self.children]
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in waiting:
                task.cancel()


Output = Callable[[str, str], None]


@contextlib.asynccontextmanager
async def running(options: Options, output: Output) -> AsyncIterator[Stack]:
    """Run the stack for as long as the block lasts; `output` gets the name of a part and a line that it printed.

    Raises:
        DevstackError: a part does not start; what has started is stopped again.
    """
    async with AsyncExitStack() as parts:
        storage, pool = await _both(parts, options, output)
        settings = {
            "AzureWebJobsStorage": storage.connection_string,
            "IMAGES": storage.connection_string,
            "PIPELINE_POOL_ENDPOINT": pool[1],
            "PIPELINE_POOL_MAX_SESSIONS": str(options.max_sessions),
        }
        if (options.app / "pipeline" / "__main__.py").exists():
            await _initialise(options.app, settings, output)
        starting = [_host(parts, options, number, settings, output) for number in range(options.hosts)]
        hosts = await together(*starting)
        children = (storage.process, pool[0], *(process for process, _ in hosts))
        yield Stack(storage, pool[1], tuple(url for _, url in hosts), settings, children)


async def _both(
    parts: AsyncExitStack, options: Options, output: Output
) -> tuple[azurite.Azurite, tuple[child.Child, str]]:
    """Storage and session pool start at the same time: each takes a second or two."""
    argv = _command("session-pool", "--port", "0", "--max-sessions", str(options.max_sessions))
    storage = azurite.running(options.data, output=lambda line: output("azurite", line))
    pool = _started(parts, "session-pool", argv, {}, r"session pool ready: (\S+)", output)
    started = await together(parts.enter_async_context(storage), pool)
    return cast("tuple[azurite.Azurite, tuple[child.Child, str]]", tuple(started))


async def _host(
    parts: AsyncExitStack, options: Options, number: int, settings: Mapping[str, str], output: Output
) -> tuple[child.Child, str]:
    port = options.port + number if options.port else 0
    argv = _command("host", "--app", str(options.app), "--port", str(port), "--grace", f"{HOST_GRACE:g}")
    return await _started(parts, f"host-{number + 1}", argv, settings, r"function host ready: (\S+)", output)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "devstack", *arguments]


async def _started(
    parts: AsyncExitStack, name: str, argv: list[str], settings: Mapping[str, str], ready: str, output: Output
) -> tuple[child.Child, str]:
    """A program of the stack and the address that its ready line tells."""
    program = child.running(
        name, argv, env=settings, cwd=ROOT, output=lambda line: output(name, line), grace=HOST_GRACE + 5
    )
    process = await parts.enter_async_context(program)
    return process, (await process.line(ready, START_TIMEOUT))[1]


async def _initialise(app: Path, settings: Mapping[str, str], output: Output) -> None:
    """Let the pipeline make its containers, queue and table: what they are called is its own business."""
    argv = [sys.executable, "-m", "pipeline", "init"]
    async with child.running("init", argv, env=settings, cwd=app, output=lambda line: output("init", line)) as process:
        ended = await process.ended()
        if process.status != 0:
            raise ended


@contextlib.contextmanager
def environment_file(settings: Mapping[str, str], path: Path = ENV_FILE) -> Iterator[None]:
    """Keep the settings in a file that a shell can read, for as long as the block lasts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(f".{os.getpid()}")
    scratch.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items()))
    scratch.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
