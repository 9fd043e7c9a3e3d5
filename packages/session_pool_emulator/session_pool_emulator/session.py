"""Session: the interpreter of one identifier, its executions and the time of its last use."""

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from session_pool_emulator.files import SessionFiles
from session_pool_emulator.interpreter import ABORTED, TIMED_OUT, Interpreter
from session_pool_emulator.kernel_client import ExecutionResult
from session_pool_emulator.sandbox.process import SandboxError

_MAX_EXECUTIONS_KEPT = 100


class ExecutionStatus(StrEnum):
    """Status of an execution, in the words of the API."""

    NOT_STARTED = "NotStarted"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True)
class ExecutionRequest:
    """Code to execute. `timeout` is in seconds, `output_limit` in characters per output stream.

    `kill_after` is an injected fault: the seconds after which the kernel is killed.
    """

    code: str
    timeout: float
    output_limit: int
    jupyter_format: bool = False
    asynchronous: bool = False
    kill_after: float | None = None


@dataclass
class Execution:
    """Execution of one request; `result` is None until `ended` is set."""

    id: str
    identifier: str
    request: ExecutionRequest
    status: ExecutionStatus = ExecutionStatus.NOT_STARTED
    result: ExecutionResult | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False)
class Session:
    """Session from its allocation until it is closed.

    `etag` identifies the container that a session of the service would have. `interpreter` is a future: the session can
    execute code when it is done.
    """

    identifier: str
    cooldown_seconds: float
    guid: str = field(default_factory=lambda: f"session-{uuid.uuid4()}")
    etag: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    last_accessed_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    calls: int = 0
    execution_count: int = 0
    allocation_seconds: float = 0.0
    executions: OrderedDict[str, Execution] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        """Create the state that belongs to the running event loop."""
        self.interpreter: asyncio.Future[Interpreter] = asyncio.get_running_loop().create_future()
        self.closed = asyncio.Event()
        self.active_calls = 0
        self._last_used = time.monotonic()
        self._execution_lock = asyncio.Lock()
        self._timeouts = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def expire_at(self) -> datetime:
        """Time at which the session expires if it is not used again."""
        return self.last_accessed_at + timedelta(seconds=self.cooldown_seconds)

    @property
    def expired(self) -> bool:
        """Whether the session has been idle for longer than the cooldown."""
        return self.active_calls == 0 and time.monotonic() - self._last_used > self.cooldown_seconds

    def files(self) -> SessionFiles:
        """Open the files of the session. The caller closes them.

        Raises:
            SandboxError: The session has ended.
        """
        return self.interpreter.result().sandbox.files()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Count a call as active for the duration of the block. Idle time starts at the end of the last call."""
        self.active_calls += 1
        self.calls += 1
        self.touch()
        try:
            yield
        finally:
            self.active_calls -= 1
            self.touch()

    def touch(self) -> None:
        """Restart the idle time."""
        self._last_used = time.monotonic()
        self.last_accessed_at = datetime.now(UTC)

    def submit(self, execution_id: str, request: ExecutionRequest) -> Execution:
        """Start an execution in the background and return it. Executions of a session run one after another."""
        execution = Execution(execution_id, self.identifier, request)
        self.executions[execution_id] = execution
        self._prune_executions()
        task = asyncio.create_task(self._execute(execution))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return execution

    def _prune_executions(self) -> None:
        """Remove the oldest ended executions above the limit of 100."""
        ended = [execution_id for execution_id, execution in self.executions.items() if execution.result is not None]
        for execution_id in ended[: max(0, len(self.executions) - _MAX_EXECUTIONS_KEPT)]:
            del self.executions[execution_id]

    async def _execute(self, execution: Execution) -> None:
        """Wait for earlier executions, execute the code and record the result."""
        with self.in_use():
            timeouts_when_queued = self._timeouts
            async with self._execution_lock:
                execution.status = ExecutionStatus.RUNNING
                result = await self._run(execution.request, timeouts_when_queued)
        execution.result = result
        execution.status = ExecutionStatus.SUCCEEDED if result.succeeded else ExecutionStatus.FAILED
        execution.ended.set()

    async def _run(self, request: ExecutionRequest, timeouts_when_queued: int) -> ExecutionResult:
        """Execute the code, unless an earlier execution timed out while this one waited: the service aborts it then."""
        if self._timeouts != timeouts_when_queued:
            return ExecutionResult(stderr=ABORTED, succeeded=False)
        interpreter = self.interpreter.result()
        self.execution_count += 1
        if request.kill_after is not None:
            asyncio.get_running_loop().call_later(request.kill_after, interpreter.kill_kernel)
        result = await interpreter.execute(request.code, request.timeout, request.output_limit)
        self._timeouts += not result.succeeded and result.stderr.endswith(TIMED_OUT)
        return result

    async def close(self) -> None:
        """End the session and free its resources. Running executions fail."""
        with suppress(SandboxError, asyncio.CancelledError):
            await (await self.interpreter).stop()
        while self._tasks:
            await asyncio.wait(self._tasks)
        self.closed.set()
