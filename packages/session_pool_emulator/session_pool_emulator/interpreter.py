"""Python interpreter in a sandbox: the sandbox and its current kernel."""

import asyncio
import os
import signal
from collections.abc import Callable

import zmq

from session_pool_emulator.kernel_client import ExecutionResult, KernelClient, KernelLostError
from session_pool_emulator.memory import MemoryMeter
from session_pool_emulator.sandbox.process import KernelDied, Sandbox, SandboxError
from session_pool_emulator.settings import PoolSettings, SandboxKind

TIMED_OUT = "Request timed out waiting for code execution to complete"
ABORTED = "Execution aborted"
RESTARTED = "Kernel restarted"
_INTERRUPT_TIMEOUT_SECONDS = 2.0
_WARM_UP_CODE = "pass"


class Interpreter:
    """Interpreter of one session. It executes one piece of code at a time and replaces a kernel that dies."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], sandbox: Sandbox, settings: PoolSettings) -> None:
        """Prepare an interpreter in `sandbox`. `on_restart` is called with the cause of each restart of the kernel."""
        self.sandbox = sandbox
        self.on_restart: Callable[[str], None] = lambda _: None
        self._context = context
        self._restarts_after_execution = settings.restart_kernel
        self._successor_requested = False
        self._kernel: KernelClient | None = None
        self._connecting: asyncio.Task[KernelClient] | None = None
        self._kill_reason = RESTARTED
        self._meter: MemoryMeter | None = None
        sandbox.on_kernel_death = self._replace_kernel

    @property
    def alive(self) -> bool:
        """Whether the sandbox still runs."""
        return not self.sandbox.ended.is_set()

    async def start(self) -> None:
        """Start the sandbox and wait until its kernel has executed a first line.

        Raises:
            SandboxError: The sandbox or the kernel did not start.
        """
        await self.sandbox.start()
        self._connecting = asyncio.create_task(self._connect(1))
        try:
            await (await self._connecting).execute(_WARM_UP_CODE, 0)
        except BaseException as error:
            await self.stop()
            if isinstance(error, KernelLostError):
                raise SandboxError(str(error)) from error
            raise

    async def execute(self, code: str, timeout: float, output_limit: int) -> ExecutionResult:  # noqa: ASYNC109
        """Execute `code` for at most `timeout` seconds and keep `output_limit` characters of each output stream.

        Never raises because of the code. If an execution cannot complete, the last line of `stderr` gives the reason.
        """
        try:
            kernel = await self._current_kernel()
        except KernelLostError:
            return ExecutionResult(stderr=ABORTED, succeeded=False)
        try:
            async with asyncio.timeout(timeout):
                result = await kernel.execute(self._map_paths(code), output_limit)
            if await kernel.output_is_lost():
                self.kill_kernel()
                await kernel.lost.wait()
        except TimeoutError:
            result = _failed_result(kernel, TIMED_OUT)
            await self._interrupt(kernel)
        except KernelLostError:
            result = _failed_result(kernel, self._kill_reason if self.alive else ABORTED)
        if self._restarts_after_execution:
            await self._succeed(kernel)
        return result

    def kill_kernel(self, reason: str = RESTARTED) -> None:
        """Kill the kernel and all its child processes. The current execution fails with `reason`."""
        self._kill_reason = reason
        self.sandbox.restart_kernel()

    def memory_bytes(self, limit: int = 0) -> int:
        """Return the memory use of all processes of the sandbox; see `MemoryMeter.measure`."""
        if self._meter is None and self.sandbox.pid is not None:
            self._meter = MemoryMeter(self.sandbox.pid)
        return self._meter.measure(limit) if self._meter else 0

    async def stop(self) -> None:
        """End all processes and free their resources."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._kernel is not None:
            self._kernel.close()
        await self.sandbox.stop()

    def _map_paths(self, code: str) -> str:
        """Replace `/mnt/data` with the folder of the session in plain processes, which see the host's file system."""
        if self.sandbox.kind is SandboxKind.PROCESS:
            return code.replace("/mnt/data", str(self.sandbox.folder.data))
        return code

    async def _current_kernel(self) -> KernelClient:
        """Wait for the current kernel; raise KernelLostError if the sandbox has ended."""
        ended = asyncio.ensure_future(self.sandbox.ended.wait())
        # A kernel can die during the wait; `_connecting` is then the task of its successor.
        while self.alive and self._connecting is not None and not self._connecting.done():
            await asyncio.wait((self._connecting, ended), return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not self.alive or self._connecting is None:
            raise KernelLostError("the sandbox has ended")
        return self._connecting.result()

    async def _succeed(self, kernel: KernelClient) -> None:
        """Replace a kernel that still runs, and leave all other processes of the session alone."""
        if self.alive and not kernel.lost.is_set():
            self._successor_requested = True
            self.sandbox.succeed_kernel()
            await kernel.lost.wait()

    async def _connect(self, number: int) -> KernelClient:
        """Connect to the kernel with this number, starting at 1. The first one is ready when the sandbox is."""
        while number > 1 and await self.sandbox.next_ready_kernel() != number:
            pass
        kernel = KernelClient(self._context, str(self.sandbox.socket_prefix(number)), self.sandbox.key)
        await kernel.connect()
        self._kernel = kernel
        return kernel

    def _replace_kernel(self, death: KernelDied) -> None:
        """Connect to the successor of a kernel that died; give up if no kernel has ever started."""
        if self._kernel is None:
            self.sandbox.disconnect()
            return
        self._kernel.close()
        self._kernel = None
        self._connecting = asyncio.create_task(self._connect(death.kernel + 1))
        if not self._successor_requested:
            self.on_restart(_death_cause(death.status))
        self._successor_requested = False

    async def _interrupt(self, kernel: KernelClient) -> None:
        """Send SIGINT, which keeps the state of the session. Kill the kernel if the code ignores the signal."""
        self.sandbox.interrupt()
        try:
            async with asyncio.timeout(_INTERRUPT_TIMEOUT_SECONDS):
                await kernel.wait_until_done()
        except TimeoutError:
            self.kill_kernel(TIMED_OUT)
            await kernel.lost.wait()
        except KernelLostError:
            pass


def _failed_result(kernel: KernelClient, reason: str) -> ExecutionResult:
    """Return the output so far as a failed result that ends with `reason`."""
    result = kernel.partial_result()
    result.succeeded = False
    result.value = None
    result.stderr += reason
    return result


def _death_cause(status: int) -> str:
    """Convert a wait status to the name of the signal or to `exit CODE`."""
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit {os.waitstatus_to_exitcode(status)}"
