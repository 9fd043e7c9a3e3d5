"""One leased session at work: equipped once, several jobs' transfers at a time, one execution at a time."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from contextvars import Context
from dataclasses import dataclass, replace
from math import ceil
from typing import Protocol

from pipeline import telemetry
from pipeline.concurrency import gather_or_cancel
from pipeline.engine import protocol
from pipeline.engine.bundle import ALL as PACK_LIMIT
from pipeline.errors import PipelineError, SessionLost, SessionReplyError
from pipeline.pool import batching, engine_bundle
from pipeline.pool.batching import LONGEST_RUN, BatchLimits, ExecutionBatcher, ExecutionResult, PendingWork, WorkItem
from pipeline.pool.client import Chunks, PoolClient
from pipeline.pool.report import SessionReport
from pipeline.pool.responses import Execution

REPORT_LIMIT = 512 * 1024
STDERR_TAIL = 500
REPLACED = "session_replaced"
SLOT_LOST = "slot_lost"
BUSY = "session_busy"
ONE_BY_ONE = BatchLimits(1, 0, 0)


@dataclass(frozen=True)
class Workspace:
    """The names of one job's files in a session: generated, never the blob's own."""

    source: str
    report: str
    renditions: dict[str, str]

    @classmethod
    def fresh(cls, renditions: dict[str, str]) -> Workspace:
        """Names for a job whose renditions have these extensions, by rendition name."""
        token = secrets.token_hex(6)
        outputs = {name: f"out-{token}-{i}.{extension}" for i, (name, extension) in enumerate(renditions.items())}
        return cls(f"in-{token}.bin", f"report-{token}.json", outputs)

    @property
    def files(self) -> set[str]:
        """All names."""
        return {self.source, self.report, *self.renditions.values()}


class SessionObserver(Protocol):
    """Who keeps count of sessions."""

    def answered(self, since: float) -> None:
        """There is a session, for certain, since a call that was sent then (seconds since 1970)."""

    def mark_alive(self) -> None:
        """It has run something with what was brought into it before, so it still is the same."""

    def replaced(self) -> None:
        """What was here had ended by itself; a new session of the same name is in its place."""


class Session:
    """A session, addressed by its identifier, which is a secret and never logged.

    `is_ours` says whether the slot's lease still holds; every call asks it first, since a process that stood still
    for longer than its lease must not go on in a session that another process may have by now. Where the session's
    image `may_bring_engine`, the first run finds out, and nothing is shipped until it says that it does not. The
    `watcher` hears that there is a session.
    """

    def __init__(
        self,
        client: PoolClient,
        identifier: str,
        *,
        equipped: bool,
        is_ours: Callable[[], bool],
        name: str = "",
        bounds: BatchLimits = ONE_BY_ONE,
        may_bring_engine: bool = False,
        watcher: SessionObserver | None = None,
    ) -> None:
        self._client, self._identifier, self._is_ours = client, identifier, is_ours
        self._watcher = watcher
        self.name = name
        self._archive = engine_bundle.build()
        self._equipped = equipped
        self._unknown = may_bring_engine and not equipped
        self._equipping = asyncio.Lock()
        self._queue = ExecutionBatcher(bounds)
        self._runner: asyncio.Task[None] | None = None
        self._unpacking: set[asyncio.Task[None]] = set()
        self._present = 0
        self._changed = asyncio.Event()
        self._garbage: set[str] = set()
        self._brought: set[str] = set()
        self._packs: set[str] = set()
        self.overdue = False
        """Whether the run that goes on takes much longer than was to be expected: nobody should wait behind it."""
        self.tainted = ""
        """What the engine found in the session that should not be there: nothing runs here any more then."""

    @property
    def engine_installed(self) -> bool:
        """Whether the engine is in this session: shipped, or brought by its image."""
        return self._equipped

    @contextmanager
    def workspace(self, renditions: dict[str, str]) -> Iterator[Workspace]:
        """The files of one job; when it is over they are garbage, gone before the next job's run."""
        names = Workspace.fresh(renditions)
        self._present += 1
        try:
            yield names
        finally:
            self._present -= 1
            self._changed.set()
            self._garbage |= names.files

    async def upload(self, name: str, size: int, chunks: Chunks) -> None:
        """Bring a job's source in, and the engine when it is not there yet."""
        self._check()
        put = self._client.upload(self._identifier, name, size, chunks)
        if self._equipped:
            await put
        else:
            await gather_or_cancel(self._install_engine(), put)

    async def upload_asset(self, name: str, data: bytes) -> None:
        """Bring in a picture or a font that recipes use; it stays for the jobs to come."""
        self._check()
        async with self._equipping:
            if name not in self._brought:
                await self._put(name, len(data), lambda: _whole(data))
                self._brought.add(name)

    async def execute(self, work: WorkItem) -> ExecutionResult:
        """Run a job whose source has been uploaded, perhaps together with others that wait here.

        SessionLost of kind `session_replaced` when the session turns out to be a fresh one: upload again; of kind
        `session_busy` when the run before takes much longer than such runs do: look for another session.
        """
        waiting = self._queue.add(work)
        self._changed.set()
        if self._runner is None or self._runner.done():
            # In a context of its own: it goes on for jobs to come.
            self._runner = asyncio.create_task(self._run_all(), context=Context())
        return await waiting.end

    def download(self, name: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Download a rendition as a stream; the caller counts and checks."""
        self._check()
        return self._client.download(self._identifier, name)

    async def clean(self) -> int:
        """Delete what earlier jobs left behind: how many files. Nothing may be running."""
        garbage = sorted(self._garbage)
        for name in garbage:
            self._check()
            await self._client.delete(self._identifier, name)
            self._garbage.discard(name)
        return len(garbage)

    async def end(self) -> None:
        """End the session, with everything in it."""
        if self._runner is not None:
            self._runner.cancel()
        await self._client.end(self._identifier)

    async def _run_all(self) -> None:
        """One execution after another, until nothing waits."""
        taken: list[PendingWork] = []
        try:
            while True:
                await self._gather()
                taken = self._queue.take(self._most_at_once)
                if not taken:
                    return
                try:
                    with self._waited_for([each.work for each in taken]):
                        await self._run(taken)
                except PipelineError as error:
                    batching.failed(taken, error)
        except BaseException as error:
            broken = SessionLost(f"the run was broken off ({type(error).__name__})")
            batching.failed([*taken, *self._queue.leave()], broken)
            raise

    @property
    def _most_at_once(self) -> int:
        """Half of the jobs that are here, so that the transfers of others overlap with the run; of short ones all."""
        return self._present if self._queue.short else ceil(self._present / 2)

    async def _gather(self) -> None:
        """Wait a moment until all jobs that are here are in line, where that is worth it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(batching.LINGER):
                while self._queue.is_short_of(self._present):
                    self._changed.clear()
                    await self._changed.wait()

    @contextmanager
    def _waited_for(self, works: list[WorkItem]) -> Iterator[None]:
        """Within this, those who wait do so for as long as is reasonable."""
        timer = asyncio.get_running_loop().call_later(batching.overdue_timeout(works), self._send_away)
        try:
            yield
        finally:
            timer.cancel()
            self.overdue = False

    def _send_away(self) -> None:
        self.overdue = True
        busy = SessionLost("the session is busy with a run that takes longer than such runs do", kind=BUSY)
        batching.failed(self._queue.leave(), busy)

    async def _run(self, taken: list[PendingWork]) -> None:
        self._check()
        if self.tainted:
            raise SessionLost(f"the session is given up: it has {self.tainted}", kind="session_tainted")
        garbage = sorted(self._garbage - self._packs)
        jobs = [each.work.job for each in taken]
        jobs[0] = {**jobs[0], "remove": garbage}
        if len(jobs) > 1:
            jobs[0]["pack"] = f"out-{secrets.token_hex(6)}-all.bin"
            self._garbage.add(jobs[0]["pack"])
        seconds = min(sum(each.work.seconds for each in taken), LONGEST_RUN)
        began = time.perf_counter()
        code = self._archive.program(protocol.encode_jobs(*jobs))
        execution = await self._execute(code, seconds)
        ended = time.perf_counter()
        reports = SessionReport.parse_all(await self._reports(execution, jobs[0]["report"]), len(taken))
        if any(report.failure and report.failure.kind == "source_missing" for report in reports):
            self._brought.clear()  # replaced by an empty one too, whose image brings the engine
        self.tainted = next((report.tainted for report in reports if report.tainted), "")
        self._garbage.difference_update(garbage)
        telemetry.microbatch_jobs.record(len(taken))
        ran = [ExecutionResult(report, began, ended, len(taken)) for report in reports]
        if any(made.at is not None for report in reports for made in report.renditions):
            # Beside the next execution, which must leave it there.
            self._packs.add(jobs[0].get("pack", ""))
            task = asyncio.create_task(self._unpack(taken, ran, jobs[0].get("pack", "")))
            self._unpacking.add(task)
            task.add_done_callback(self._unpacking.discard)
        else:
            _over(taken, ran)

    async def _unpack(self, taken: list[PendingWork], ran: list[ExecutionResult], file: str) -> None:
        """Fetch the small renditions of all; where that cannot be, each job fetches its own."""
        pack = b""
        try:
            with suppress(PipelineError):
                self._check()
                pack = await self._client.read(self._identifier, file, PACK_LIMIT)
        finally:
            self._packs.discard(file)
            _over(taken, [replace(each, pack=pack) for each in ran])

    async def _execute(self, code: str, seconds: int) -> Execution:
        equipped = self._equipped
        execution = await self._client.execute(self._identifier, code, seconds)
        if engine_bundle.MISSING in execution.stdout and self._unknown:
            self._unknown = False
            await self._install_engine()
            execution = await self._client.execute(self._identifier, code, seconds)
        if engine_bundle.MISSING in execution.stdout:
            # Of several jobs that find out, one brings the engine again while others still run into it.
            if equipped:
                self._equipped = False
                self._brought.clear()
                if self._watcher:
                    self._watcher.replaced()
            raise SessionLost("the session expired and was replaced by an empty one", kind=REPLACED)
        if equipped and self._watcher:
            self._watcher.mark_alive()
        if self._unknown:
            self._unknown, self._equipped = False, execution.ok
        return execution

    def _check(self) -> None:
        if not self._is_ours():
            raise SessionLost(
                "this process could not renew its lease in time (it stood still, or storage did not answer): its "
                "session may be another's now",
                kind=SLOT_LOST,
            )

    async def _put(self, name: str, size: int, chunks: Chunks) -> None:
        """Upload, which makes the session where there is none."""
        since = time.time()
        await self._client.upload(self._identifier, name, size, chunks)
        if self._watcher:
            self._watcher.answered(since)

    async def _install_engine(self) -> None:
        async with self._equipping:
            if not self._equipped and not self._unknown:
                data = self._archive.data
                await self._put(self._archive.name, len(data), lambda: _whole(data))
                self._equipped = True

    async def _reports(self, execution: Execution, file: str) -> bytes:
        body = await self._body(execution, file)
        if self._identifier.encode() in body:
            raise SessionReplyError("the session's report names the session, which is a secret")
        return body

    async def _body(self, execution: Execution, file: str) -> bytes:
        stderr = telemetry.printable(execution.stderr.replace(self._identifier, "…"), but="\n\t")
        try:
            ref = protocol.parse_report_line(execution.stdout)
            if ref is None and not execution.ok:
                # Our program never raises, whatever the source is: something has ended it.
                raise SessionLost(
                    f"the run broke off; it said: {stderr[-STDERR_TAIL:]!r}",
                    kind="execution_interrupted",
                    stderr_tail=stderr,
                )
            if ref is None:
                raise SessionReplyError(
                    f"the session gave no report; it said: {stderr[-STDERR_TAIL:]!r}", stderr_tail=stderr
                )
            body = ref["body"]
            if body is None:
                body = protocol.check_report(await self._client.read(self._identifier, file, REPORT_LIMIT), ref)
        except protocol.ProtocolError as error:
            raise SessionReplyError(f"the session's report cannot be used: {error}") from None
        return body


def _over(taken: list[PendingWork], ran: list[ExecutionResult]) -> None:
    for each, end in zip(taken, ran, strict=True):
        if not each.end.done():
            each.end.set_result(end)


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data
