"""One session: an identifier's interpreter, its executions, and when it was last used."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from session_pool_emulator.files import Files
from session_pool_emulator.interpreter import ABORTED, TIMED_OUT, Interpreter
from session_pool_emulator.kernel import Outcome
from session_pool_emulator.sandbox.process import SandboxError

_EXECUTIONS_KEPT = 100


class Status(StrEnum):
    """How far an execution is."""

    NOT_STARTED = "NotStarted"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True)
class Program:
    """What to run: `timeout` in seconds, `output_limit` in characters per stream."""

    code: str
    timeout: float
    output_limit: int
    jupyter_format: bool = False
    asynchronous: bool = False
    kill_after: float | None = None  # seconds until the kernel is killed: a fault on demand


@dataclass
class Execution:
    """One execution and, once there is one, its outcome."""

    id: str
    identifier: str
    program: Program
    status: Status = Status.NOT_STARTED
    outcome: Outcome | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False)
class Session:
    """Alive from its allocation until it is closed. `etag` names the container that a hosted session would have."""

    identifier: str
    cooldown: float
    guid: str = field(default_factory=lambda: f"session-{uuid.uuid4()}")
    etag: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    last_accessed_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    uses: int = 0
    executed: int = 0
    allocation_seconds: float = 0.0
    executions: OrderedDict[str, Execution] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self.interpreter: asyncio.Future[Interpreter] = asyncio.get_running_loop().create_future()
        self.closed = asyncio.Event()
        self.busy = 0
        self._last_used = time.monotonic()
        self._turn = asyncio.Lock()
        self._timeouts = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def expire_at(self) -> datetime:
        """When it is given back if nobody uses it until then."""
        return self.last_accessed_at + timedelta(seconds=self.cooldown)

    @property
    def expired(self) -> bool:
        """Whether it was idle for longer than the cooldown."""
        return self.busy == 0 and time.monotonic() - self._last_used > self.cooldown

    def files(self) -> Files:
        """Its files, to be closed after use. Raises SandboxError when the session has just ended."""
        return self.interpreter.result().sandbox.files()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Idle time starts at the end of the last use."""
        self.busy += 1
        self.uses += 1
        self.touch()
        try:
            yield
        finally:
            self.busy -= 1
            self.touch()

    def touch(self) -> None:
        """It was just used."""
        self._last_used = time.monotonic()
        self.last_accessed_at = datetime.now(UTC)

    def submit(self, execution_id: str, program: Program) -> Execution:
        """Start an execution; its `ended` says when it is over."""
        execution = Execution(execution_id, self.identifier, program)
        self.executions[execution_id] = execution
        self._forget()
        task = asyncio.create_task(self._execute(execution))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return execution

    def _forget(self) -> None:
        """Drop the oldest executions that have ended."""
        ended = [known for known, execution in self.executions.items() if execution.outcome is not None]
        for known in ended[: max(0, len(self.executions) - _EXECUTIONS_KEPT)]:
            del self.executions[known]

    async def _execute(self, execution: Execution) -> None:
        with self.in_use():
            queued_at = self._timeouts
            async with self._turn:
                execution.status = Status.RUNNING
                outcome = await self._run(execution.program, queued_at)
        execution.outcome = outcome
        execution.status = Status.SUCCEEDED if outcome.ok else Status.FAILED
        execution.ended.set()

    async def _run(self, program: Program, queued_at: int) -> Outcome:
        """A call that waited behind one that timed out is not run at all: so does the service."""
        if self._timeouts != queued_at:
            return Outcome(stderr=ABORTED, ok=False)
        interpreter = self.interpreter.result()
        self.executed += 1
        if program.kill_after is not None:
            asyncio.get_running_loop().call_later(program.kill_after, interpreter.kill_kernel)
        outcome = await interpreter.run(program.code, program.timeout, program.output_limit)
        self._timeouts += not outcome.ok and outcome.stderr.endswith(TIMED_OUT)
        return outcome

    async def close(self) -> None:
        """End it and free everything it held; executions under way fail."""
        with suppress(SandboxError, asyncio.CancelledError):
            await (await self.interpreter).stop()
        while self._tasks:
            await asyncio.wait(self._tasks)
        self.closed.set()
