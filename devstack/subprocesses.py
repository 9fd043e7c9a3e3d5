"""Programs that the stack runs: started tethered, awaited until they serve, stopped for good."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from devstack.errors import ChildError

TETHER = Path(__file__).with_name("tether.py")
GRACE = 5.0
CHUNK = 1 << 16


class Child:
    """A running program. `output` is called with every line that it prints, its standard error included."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, output: Callable[[str], None]) -> None:
        self.name = name
        self._process = process
        self._output = output
        self._last: deque[str] = deque(maxlen=20)
        self._waiting: list[tuple[re.Pattern[str], asyncio.Future[re.Match[str]]]] = []
        self._reader = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.returncode

    async def line(self, pattern: str, timeout: float) -> re.Match[str]:  # noqa: ASYNC109 - part of the message
        """The first line from now on that matches.

        Raises:
            ChildError: it ended, or `timeout` seconds went by, without one.
        """
        found: asyncio.Future[re.Match[str]] = asyncio.get_running_loop().create_future()
        self._waiting.append((re.compile(pattern), found))
        waited: list[asyncio.Future[Any]] = [found, self._reader]
        await asyncio.wait(waited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if found.done():
            return found.result()
        why = f"ended with status {await self._process.wait()}" if self._reader.done() else f"not ready in {timeout} s"
        raise self._error(why)

    async def ended(self) -> ChildError:
        """Wait for its end, and say how it ended."""
        await asyncio.shield(self._reader)
        return self._error(f"ended with status {await self._process.wait()}")

    async def stop(self, grace: float = GRACE) -> None:
        """SIGTERM, and SIGKILL when it is still there `grace` seconds later."""
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), grace)
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self._process.wait()
        await self._reader

    def kill(self) -> None:
        """SIGKILL, without waiting."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _error(self, why: str) -> ChildError:
        return ChildError(f"{self.name}: {why}", self._last)

    async def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101
        begun = b""
        while chunk := await self._process.stdout.read(CHUNK):
            *lines, begun = (begun + chunk).split(b"\n")
            for line in lines:
                self._hear(line.decode(errors="replace").rstrip())
        if begun:
            self._hear(begun.decode(errors="replace"))

    def _hear(self, line: str) -> None:
        self._last.append(line)
        self._output(line)
        for pattern, found in self._waiting:
            if not found.done() and (match := pattern.search(line)):
                found.set_result(match)


@contextlib.asynccontextmanager
async def running(
    name: str,
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    output: Callable[[str], None] = lambda _: None,
    grace: float = GRACE,
    farewell: float = 0,
    keeps: Sequence[int] = (),
) -> AsyncIterator[Child]:
    """Run a program for as long as the block lasts; `env` is added to the environment of this process.

    It ends with this process (with the thread that started it, to be exact), whatever ends this process: it is killed,
    but with `farewell` it first gets a SIGTERM and that many seconds. It holds the files `keeps` while it lives.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-IS", str(TETHER), str(os.getpid()), str(farewell), *map(str, argv),
        env={**os.environ, **(env or {})}, cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        pass_fds=keeps,
        start_new_session=True,  # Ctrl-C is ours to pass on, in the right order
    )  # fmt: skip
    child = Child(name, process, output)
    try:
        yield child
    finally:
        await asyncio.shield(child.stop(grace))
