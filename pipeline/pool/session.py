"""Leased session: install the engine once, transfer files of several jobs at a time, run one microbatch at a time."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from contextvars import Context
from dataclasses import dataclass, replace
from math import ceil
from typing import Protocol, Self

from pipeline import telemetry
from pipeline.concurrency import BackgroundTasks, gather_or_cancel
from pipeline.engine import protocol
from pipeline.engine.execution.bundle import MAX_BUNDLE_BYTES
from pipeline.errors import PipelineError, SessionLost, SessionReplyError
from pipeline.pool import batching, engine_bundle
from pipeline.pool.batching import (
    MAX_EXECUTION_SECONDS,
    BatchLimits,
    ExecutionBatcher,
    ExecutionResult,
    PendingWork,
    WorkItem,
)
from pipeline.pool.client import Chunks, PoolClient, single_chunk
from pipeline.pool.report import SessionReport
from pipeline.pool.responses import Execution

MAX_REPORT_BYTES = 512 * 1024
STDERR_TAIL_CHARACTERS = 500
REPLACED = "session_replaced"
SLOT_LOST = "slot_lost"
BUSY = "session_busy"
ONE_BY_ONE = BatchLimits(1, 0, 0)


@dataclass(frozen=True)
class Workspace:
    """Names of one job's files in a session. They are generated and never contain a blob's name."""

    source: str
    report: str
    renditions: dict[str, str]

    @classmethod
    def fresh(cls, renditions: dict[str, str]) -> Self:
        """Generate the names for a job. `renditions` maps rendition names to file extensions."""
        token = secrets.token_hex(6)
        outputs = {name: f"out-{token}-{i}.{extension}" for i, (name, extension) in enumerate(renditions.items())}
        return cls(f"in-{token}.bin", f"report-{token}.json", outputs)

    @property
    def files(self) -> set[str]:
        """Names of all files."""
        return {self.source, self.report, *self.renditions.values()}


class SessionObserver(Protocol):
    """Observer of a session's lifetime."""

    def mark_responded(self, since: float) -> None:
        """Record that the session responded to a call that was sent at `since` (seconds since 1970)."""

    def mark_alive(self) -> None:
        """Record that the session still holds earlier uploads, so it is the same one."""

    def mark_replaced(self) -> None:
        """Record that the session expired and that a new, empty one has its identifier."""


class Session:
    """Session of a slot. Its identifier is a secret and is never logged.

    Attributes:
        name: Name for logs: slot and generation.
        engine_installed: Whether the session has the engine, by upload or in its image.
        overdue: Whether the running execution takes much longer than expected, so that no job should wait behind it.
        tainted: Result of the engine's tamper check. Nothing is executed here any more unless it is empty.
    """

    def __init__(
        self,
        client: PoolClient,
        identifier: str,
        *,
        engine_installed: bool,
        lease_is_valid: Callable[[], bool],
        name: str = "",
        limits: BatchLimits = ONE_BY_ONE,
        image_may_have_engine: bool = False,
        observer: SessionObserver | None = None,
    ) -> None:
        """Create the client of a session. Nothing is sent yet.

        Args:
            client: Client of the session pool.
            identifier: The session's identifier.
            engine_installed: Whether the session holds this version of the engine.
            lease_is_valid: Returns whether the slot's lease holds. Every call checks it first: a process that was
                suspended for longer than its lease must not touch a session that another process may hold now.
            name: Name for logs.
            limits: Limits of a microbatch.
            image_may_have_engine: Whether the session's image may hold the engine. Then it is not uploaded before the
                first execution finds it missing.
            observer: Observer of the session's lifetime.
        """
        self._client, self._identifier, self._lease_is_valid = client, identifier, lease_is_valid
        self._observer = observer
        self.name = name
        self._archive = engine_bundle.build()
        self.engine_installed = engine_installed
        self._image_may_have_engine = image_may_have_engine
        self._engine_presence_unknown = image_may_have_engine and not engine_installed
        self._uploading = asyncio.Lock()
        self._queue = ExecutionBatcher(limits)
        self._runner: asyncio.Task[None] | None = None
        self._downloads = BackgroundTasks()
        self._present = 0
        self._changed = asyncio.Event()
        self._garbage: set[str] = set()
        self._uploaded_assets: set[str] = set()
        self._packs: set[str] = set()
        self.overdue = False
        self.tainted = ""

    @contextmanager
    def workspace(self, renditions: dict[str, str]) -> Iterator[Workspace]:
        """Yield the file names of one job. The next execution deletes the files before its jobs start."""
        names = Workspace.fresh(renditions)
        self._present += 1
        try:
            yield names
        finally:
            self._present -= 1
            self._changed.set()
            self._garbage |= names.files

    async def upload(self, name: str, size: int, chunks: Chunks) -> None:
        """Upload a job's source of `size` bytes, and the engine if it is not installed."""
        self._check()
        put = self._client.upload(self._identifier, name, size, chunks)
        if self.engine_installed:
            await put
        else:
            await gather_or_cancel(self._install_engine(), put)

    async def upload_asset(self, name: str, data: bytes) -> None:
        """Upload an image or a font that recipes use, once per session."""
        self._check()
        async with self._uploading:
            if name not in self._uploaded_assets:
                await self._put(name, len(data), lambda: single_chunk(data))
                self._uploaded_assets.add(name)

    async def execute(self, work: WorkItem) -> ExecutionResult:
        """Execute a job whose source has been uploaded, alone or in a microbatch with other waiting jobs.

        Raises:
            SessionLost: Of kind `session_replaced` when the session expired and is empty now: upload again. Of kind
                `session_busy` when the execution before is overdue: use another session.
            PipelineError: The execution failed.
        """
        waiting = self._queue.add(work)
        self._changed.set()
        if self._runner is None or self._runner.done():
            # An empty context, because it also serves later jobs.
            self._runner = asyncio.create_task(self._run_all(), context=Context())
        return await waiting.result

    def download(self, name: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Download a rendition as a stream. The caller checks size and content."""
        self._check()
        return self._client.download(self._identifier, name)

    async def clean(self) -> int:
        """Delete the files of earlier jobs while nothing runs. Returns their number."""
        garbage = sorted(self._garbage)
        for name in garbage:
            self._check()
            await self._client.delete(self._identifier, name)
            self._garbage.discard(name)
        return len(garbage)

    async def end(self) -> None:
        """End the session and everything in it."""
        if self._runner is not None:
            self._runner.cancel()
        await self._client.end(self._identifier)

    async def _run_all(self) -> None:
        """Run one microbatch after another until no job waits."""
        taken: list[PendingWork] = []
        try:
            while True:
                await self._gather()
                taken = self._queue.take(self._batch_size)
                if not taken:
                    return
                try:
                    with self._overdue_timer([each.item for each in taken]):
                        await self._run(taken)
                except PipelineError as error:
                    batching.fail_all(taken, error)
        except BaseException as error:
            lost = SessionLost(f"the execution was interrupted ({type(error).__name__})")
            batching.fail_all([*taken, *self._queue.take_all()], lost)
            raise

    @property
    def _batch_size(self) -> int:
        """Half of the present jobs, so that the others transfer files during the execution; all if they are short."""
        return self._present if self._queue.next_is_short else ceil(self._present / 2)

    async def _gather(self) -> None:
        """Wait a moment for all present jobs to be queued, if they are short."""
        with suppress(TimeoutError):
            async with asyncio.timeout(batching.MICROBATCH_WAIT_SECONDS):
                while self._queue.should_wait_for_more(self._present):
                    self._changed.clear()
                    await self._changed.wait()

    @contextmanager
    def _overdue_timer(self, items: list[WorkItem]) -> Iterator[None]:
        """Send waiting jobs away if the execution in the block becomes overdue."""
        timer = asyncio.get_running_loop().call_later(batching.overdue_timeout(items), self._send_jobs_away)
        try:
            yield
        finally:
            timer.cancel()
            self.overdue = False

    def _send_jobs_away(self) -> None:
        self.overdue = True
        busy = SessionLost("the session is busy with an execution that takes longer than expected", kind=BUSY)
        batching.fail_all(self._queue.take_all(), busy)

    async def _run(self, taken: list[PendingWork]) -> None:
        self._check()
        self._raise_if_tainted()
        garbage = sorted(self._garbage - self._packs)
        jobs = [each.item.job for each in taken]
        jobs[0] = {**jobs[0], "remove": garbage}
        if len(jobs) > 1:
            jobs[0]["pack"] = f"out-{secrets.token_hex(6)}-all.bin"
            self._garbage.add(jobs[0]["pack"])
        seconds = min(sum(each.item.timeout for each in taken), MAX_EXECUTION_SECONDS)
        started = time.perf_counter()
        key = secrets.token_hex(16)
        encoded = protocol.encode_jobs(*jobs)
        code = self._archive.program(encoded, key, may_be_baked=self._image_may_have_engine)
        execution = await self._execute(code, key, seconds)
        ended = time.perf_counter()
        reports = SessionReport.parse_all(await self._reports(execution, key, jobs[0]["report"]), len(taken))
        if any(report.failure and report.failure.kind == "source_missing" for report in reports):
            self._uploaded_assets.clear()  # an empty session replaced this one; the engine is in its image
        self.tainted = next((report.tainted for report in reports if report.tainted), "")
        self._garbage.difference_update(garbage)
        telemetry.microbatch_jobs.record(len(taken))
        results = [ExecutionResult(report, started, ended, len(taken)) for report in reports]
        if any(rendition.offset is not None for report in reports for rendition in report.renditions):
            # Concurrent with the next execution, which must not delete the pack.
            self._packs.add(jobs[0].get("pack", ""))
            self._downloads.spawn(self._download_pack(taken, results, jobs[0].get("pack", "")))
        else:
            _resolve(taken, results)

    async def _download_pack(self, taken: list[PendingWork], results: list[ExecutionResult], file: str) -> None:
        """Download the small renditions of all jobs together; on failure each job downloads its own."""
        pack = b""
        try:
            with suppress(PipelineError):
                self._check()
                pack = await self._client.read(self._identifier, file, MAX_BUNDLE_BYTES)
        finally:
            self._packs.discard(file)
            _resolve(taken, [replace(each, pack=pack) for each in results])

    async def _execute(self, code: str, key: str, seconds: int) -> Execution:
        was_installed, missing = self.engine_installed, f"{engine_bundle.MISSING} {key}"
        execution = await self._client.execute(self._identifier, code, seconds)
        if missing in execution.stdout and self._engine_presence_unknown:
            self._engine_presence_unknown = False
            await self._install_engine()
            execution = await self._client.execute(self._identifier, code, seconds)
        if f"{engine_bundle.CHANGED} {key}" in execution.stdout:
            self.tainted = f"another content of {self._archive.name}"
            self._raise_if_tainted()
        if missing in execution.stdout:
            # Several jobs may find this out. Record it once: another job may be installing the engine already.
            if was_installed:
                self.engine_installed = False
                self._uploaded_assets.clear()
                if self._observer:
                    self._observer.mark_replaced()
            raise SessionLost("the session expired and was replaced by an empty one", kind=REPLACED)
        if was_installed and self._observer:
            self._observer.mark_alive()
        if self._engine_presence_unknown:
            self._engine_presence_unknown, self.engine_installed = False, execution.ok
        return execution

    def _raise_if_tainted(self) -> None:
        if self.tainted:
            raise SessionLost(f"the session was tampered with: it has {self.tainted}", kind="session_tainted")

    def _check(self) -> None:
        if not self._lease_is_valid():
            raise SessionLost(
                "this process did not renew its lease in time (it was suspended, or storage did not respond): another "
                "process may hold its session now",
                kind=SLOT_LOST,
                dependency="storage",
            )

    async def _put(self, name: str, size: int, chunks: Chunks) -> None:
        """Upload a file, which starts the session if there is none."""
        since = time.time()
        await self._client.upload(self._identifier, name, size, chunks)
        if self._observer:
            self._observer.mark_responded(since)

    async def _install_engine(self) -> None:
        async with self._uploading:
            if not self.engine_installed and not self._engine_presence_unknown:
                data = self._archive.data
                await self._put(self._archive.name, len(data), lambda: single_chunk(data))
                self.engine_installed = True

    async def _reports(self, execution: Execution, key: str, file: str) -> bytes:
        body = await self._body(execution, key, file)
        if self._identifier.encode() in body:
            raise SessionReplyError("the session's report contains the session's identifier, which is a secret")
        return body

    async def _body(self, execution: Execution, key: str, file: str) -> bytes:
        stderr = telemetry.printable(execution.stderr.replace(self._identifier, "…"), keep="\n\t")
        try:
            ref = protocol.parse_report_line(execution.stdout, key)
            if ref is None and not execution.ok:
                # The engine's program catches every exception, so something else ended it.
                raise SessionLost(
                    f"the execution broke off; its stderr ends with {stderr[-STDERR_TAIL_CHARACTERS:]!r}",
                    kind="execution_interrupted",
                    stderr_tail=stderr,
                )
            if ref is None:
                raise SessionReplyError(
                    f"the session printed no report; its stderr ends with {stderr[-STDERR_TAIL_CHARACTERS:]!r}",
                    stderr_tail=stderr,
                )
            body = ref["body"]
            if body is None:
                body = protocol.check_report(await self._client.read(self._identifier, file, MAX_REPORT_BYTES), ref)
        except protocol.ProtocolError as error:
            raise SessionReplyError(f"the session's report is invalid: {error}") from None
        return body


def _resolve(taken: list[PendingWork], results: list[ExecutionResult]) -> None:
    for each, result in zip(taken, results, strict=True):
        if not each.result.done():
            each.result.set_result(result)
