"""Run programs as subprocesses that end with this process; wait for their output and stop them."""

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

from devstack.errors import SubprocessError

PDEATHSIG_SCRIPT = Path(__file__).with_name("pdeathsig.py")
STOP_GRACE_SECONDS = 5.0
READ_CHUNK_BYTES = 1 << 16
KEPT_OUTPUT_LINES = 20


class Subprocess:
    """A running program. `output` is called with every line of its standard output and standard error."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, output: Callable[[str], None]) -> None:
        self.name = name
        self._process = process
        self._output = output
        self._last_output: deque[str] = deque(maxlen=KEPT_OUTPUT_LINES)
        self._waiters: list[tuple[re.Pattern[str], asyncio.Future[re.Match[str]]]] = []
        self._reader = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status; None while the program runs."""
        return self._process.returncode

    async def wait_for_line(self, pattern: str, timeout: float) -> re.Match[str]:  # noqa: ASYNC109 - part of the message
        """Wait for the first line of new output that matches `pattern`.

        Raises:
            SubprocessError: The program exited, or `timeout` seconds passed, without such a line.
        """
        match: asyncio.Future[re.Match[str]] = asyncio.get_running_loop().create_future()
        self._waiters.append((re.compile(pattern), match))
        awaited: list[asyncio.Future[Any]] = [match, self._reader]
        await asyncio.wait(awaited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if match.done():
            return match.result()
        if self._reader.done():
            raise await self.wait_for_exit()
        raise self._error(f"not ready in {timeout} s")

    async def wait_for_exit(self) -> SubprocessError:
        """Wait until the program exits. Return its exit status and last output as an error, to raise or not."""
        await asyncio.shield(self._reader)
        return self._error(f"ended with status {await self._process.wait()}")

    async def stop(self, grace: float = STOP_GRACE_SECONDS) -> None:
        """Send SIGTERM, and SIGKILL if the program still runs `grace` seconds later."""
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), grace)
        except TimeoutError:
            self.kill()
            await self._process.wait()
        await self._reader

    def kill(self) -> None:
        """Send SIGKILL and do not wait."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _error(self, reason: str) -> SubprocessError:
        return SubprocessError(f"{self.name}: {reason}", self._last_output)

    async def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101
        partial_line = b""
        while chunk := await self._process.stdout.read(READ_CHUNK_BYTES):
            *lines, partial_line = (partial_line + chunk).split(b"\n")
            for line in lines:
                self._on_line(line.decode(errors="replace").rstrip())
        if partial_line:
            self._on_line(partial_line.decode(errors="replace"))

    def _on_line(self, line: str) -> None:
        self._last_output.append(line)
        self._output(line)
        for pattern, waiter in self._waiters:
            if not waiter.done() and (match := pattern.search(line)):
                waiter.set_result(match)


@contextlib.asynccontextmanager
async def running(
    name: str,
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    output: Callable[[str], None] = lambda _: None,
    grace: float = STOP_GRACE_SECONDS,
    orphan_grace: float = 0,
    pass_fds: Sequence[int] = (),
) -> AsyncIterator[Subprocess]:
    """Run a program until the block ends.

    The program also ends with this process (exactly: with the thread that started it), even if this process is killed.

    Args:
        name: The name of the program in error messages.
        argv: The program and its arguments.
        env: Variables to add to the environment of this process.
        cwd: The working folder of the program.
        output: Called with each line of output.
        grace: Seconds between SIGTERM and SIGKILL at the end of the block.
        orphan_grace: Seconds between SIGTERM and SIGKILL when this process dies; 0 sends only SIGKILL.
        pass_fds: File descriptors that the program inherits.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-IS", str(PDEATHSIG_SCRIPT), str(os.getpid()), str(orphan_grace), *map(str, argv),
        env={**os.environ, **(env or {})}, cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        pass_fds=pass_fds,
        start_new_session=True,  # Ctrl-C must reach only this process, which stops the programs in the right order
    )  # fmt: skip
    subprocess = Subprocess(name, process, output)
    try:
        yield subprocess
    finally:
        await asyncio.shield(subprocess.stop(grace))
