"""A Python interpreter in a sandbox: the sandbox and whichever kernel lives in it now."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import zmq

from session_pool_emulator.kernel import Kernel, KernelLost, Outcome
from session_pool_emulator.memory import MemoryMeter
from session_pool_emulator.sandbox.process import KernelDied, Sandbox, SandboxError
from session_pool_emulator.settings import SandboxKind

TIMED_OUT = "Request timed out waiting for code execution to complete"
ABORTED = "Execution aborted"
RESTARTED = "Kernel restarted"
_INTERRUPT_SECONDS = 2.0
_WARM_UP = "pass"


class Interpreter:
    """`start` it, `run` one piece of code at a time, `stop` it. A kernel that dies is followed by a fresh one."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.on_restart: Callable[[str], None] = lambda _: None
        self._context = context
        self._kernel: Kernel | None = None
        self._next: asyncio.Task[Kernel] | None = None
        self._verdict = RESTARTED
        self._meter: MemoryMeter | None = None
        sandbox.on_death = self._kernel_died

    @property
    def alive(self) -> bool:
        """Whether there is anything to run code in."""
        return not self.sandbox.ended.is_set()

    async def start(self) -> None:
        """Until the kernel has run its first line. Raises SandboxError."""
        await self.sandbox.start()
        self._next = asyncio.create_task(self._connect(1))
        try:
            await (await self._next).run(_WARM_UP, 0)
        except BaseException as error:
            await self.stop()
            if isinstance(error, KernelLost):
                raise SandboxError(str(error)) from error
            raise

    async def run(self, code: str, timeout: float, limit: int) -> Outcome:  # noqa: ASYNC109 - the caller's own figure
        """Run `code` for `timeout` seconds at most, keep `limit` characters of each stream. Never raises for the code.

        A run that could not end well says why as the last line of `stderr`.
        """
        try:
            kernel = await self._current()
        except KernelLost:
            return Outcome(stderr=ABORTED, ok=False)
        try:
            async with asyncio.timeout(timeout):
                outcome = await kernel.run(self._translate(code), limit)
            if await kernel.is_deaf():
                self.kill_kernel()
                await kernel.gone.wait()
        except TimeoutError:
            outcome = _failed(kernel, TIMED_OUT)
            await self._interrupt(kernel)
        except KernelLost:
            outcome = _failed(kernel, self._verdict if self.alive else ABORTED)
        return outcome

    def kill_kernel(self, verdict: str = RESTARTED) -> None:
        """End the kernel and everything it started; the run under way fails with `verdict`."""
        self._verdict = verdict
        self.sandbox.restart()

    def memory(self, limit: int = 0) -> int:
        """Bytes of memory that all processes of the sandbox hold together; see MemoryMeter.measure."""
        if self._meter is None and self.sandbox.pid is not None:
            self._meter = MemoryMeter(self.sandbox.pid)
        return self._meter.measure(limit) if self._meter else 0

    async def stop(self) -> None:
        """End everything and free what it held."""
        if self._next is not None:
            self._next.cancel()
        if self._kernel is not None:
            self._kernel.close()
        await self.sandbox.stop()

    def _translate(self, code: str) -> str:
        """A plain process has no file system of its own, so there `/mnt/data` is another directory."""
        if self.sandbox.kind is SandboxKind.PROCESS:
            return code.replace("/mnt/data", str(self.sandbox.place.data))
        return code

    async def _current(self) -> Kernel:
        ended = asyncio.ensure_future(self.sandbox.ended.wait())
        # A kernel that dies while it is waited for has been replaced by another one: that is then the next.
        while self.alive and self._next is not None and not self._next.done():
            await asyncio.wait((self._next, ended), return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not self.alive or self._next is None:
            raise KernelLost("the sandbox has ended")
        return self._next.result()

    async def _connect(self, number: int) -> Kernel:
        while number > 1 and await self.sandbox.kernel_ready() != number:  # the first is ready when the sandbox is
            pass
        kernel = Kernel(self._context, str(self.sandbox.sockets(number)), self.sandbox.key)
        await kernel.connect()
        self._kernel = kernel
        return kernel

    def _kernel_died(self, death: KernelDied) -> None:
        if self._kernel is None:
            self.sandbox.hang_up()  # it did not even start: the next would not either
            return
        self._kernel.close()
        self._kernel = None
        self._next = asyncio.create_task(self._connect(death.kernel + 1))
        self.on_restart(_cause(death.status))

    async def _interrupt(self, kernel: Kernel) -> None:
        """Ctrl-C first, so that the session keeps its state; code that does not heed it loses the kernel."""
        self.sandbox.interrupt()
        try:
            async with asyncio.timeout(_INTERRUPT_SECONDS):
                await kernel.finished()
        except TimeoutError:
            self.kill_kernel(TIMED_OUT)
            await kernel.gone.wait()
        except KernelLost:
            pass


def _failed(kernel: Kernel, reason: str) -> Outcome:
    outcome = kernel.so_far()
    outcome.ok = False
    outcome.value = None
    outcome.stderr += reason
    return outcome


def _cause(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit {os.waitstatus_to_exitcode(status)}"
