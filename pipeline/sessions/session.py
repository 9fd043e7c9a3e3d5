"""One leased session at work: equipped once, several jobs' transfers at a time, one run at a time."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass

from pipeline.errors import SessionLost, SessionReplyError
from pipeline.sessions import archive
from pipeline.sessions.answers import Execution
from pipeline.sessions.client import Chunks, PoolClient
from pipeline.sessions.report import SessionReport
from pipeline.transforms import protocol
from pipeline.transforms.protocol import Job

REPORT_LIMIT = 512 * 1024
STDERR_TAIL = 500
REPLACED = "session_replaced"


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


class Session:
    """A session, addressed by its identifier, which is a secret and never logged.

    `is_ours` says whether the slot's lease still holds; every call asks it first, since a process that stood still
    for longer than its lease must not go on in a session that another process may have by now.
    """

    def __init__(self, client: PoolClient, identifier: str, *, equipped: bool, is_ours: Callable[[], bool]) -> None:
        self._client, self._identifier, self._is_ours = client, identifier, is_ours
        self._archive = archive.build()
        self._equipped = equipped
        self._equipping = asyncio.Lock()
        self._running = asyncio.Lock()
        self._garbage: set[str] = set()
        self._brought: set[str] = set()

    @property
    def equipped(self) -> bool:
        """Whether the engine was shipped to this session."""
        return self._equipped

    @contextmanager
    def workspace(self, renditions: dict[str, str]) -> Iterator[Workspace]:
        """The files of one job; when it is over they are garbage, gone before the next job's run."""
        names = Workspace.fresh(renditions)
        try:
            yield names
        finally:
            self._garbage |= names.files

    async def upload(self, name: str, size: int, chunks: Chunks) -> None:
        """Bring a job's source in, and the engine when it is not there yet."""
        self._check()
        await self._equip()
        await self._client.put(self._identifier, name, size, chunks)

    async def bring(self, name: str, data: bytes) -> None:
        """Bring in a picture or a font that recipes use; it stays for the jobs to come."""
        self._check()
        async with self._equipping:
            if name not in self._brought:
                await self._client.put(self._identifier, name, len(data), lambda: _whole(data))
                self._brought.add(name)

    async def run(self, job: Job, seconds: int) -> SessionReport:
        """Run a job whose source has been uploaded: what the engine says of it.

        SessionLost of kind `session_replaced` when the session turns out to be a fresh one: upload again.
        """
        async with self._running:
            self._check()
            garbage = sorted(self._garbage)
            code = self._archive.program(protocol.encode_job({**job, "remove": garbage}))
            execution = await self._client.run(self._identifier, code, seconds)
            if archive.MISSING in execution.stdout:
                self._equipped = False
                self._brought.clear()
                raise SessionLost("the session expired and was replaced by an empty one", kind=REPLACED)
            report = await self._report(execution, job["report"])
            self._garbage.difference_update(garbage)
            return report

    def get(self, name: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Download a rendition as a stream; the caller counts and checks."""
        self._check()
        return self._client.get(self._identifier, name)

    async def clean(self) -> None:
        """Delete what earlier jobs left behind."""
        async with self._running:
            for name in sorted(self._garbage):
                self._check()
                await self._client.remove(self._identifier, name)
                self._garbage.discard(name)

    async def end(self) -> None:
        """End the session, with everything in it."""
        await self._client.end(self._identifier)

    def _check(self) -> None:
        if not self._is_ours():
            raise SessionLost("this process stood still for longer than its lease; its session is another's now")

    async def _equip(self) -> None:
        async with self._equipping:
            if not self._equipped:
                data = self._archive.data
                await self._client.put(self._identifier, self._archive.name, len(data), lambda: _whole(data))
                self._equipped = True

    async def _report(self, execution: Execution, file: str) -> SessionReport:
        try:
            ref = protocol.parse_report_line(execution.stdout)
            if ref is None and not execution.ok:
                # Our program never raises, whatever the source is: something has ended it.
                raise SessionLost(
                    f"the run broke off; it said: {execution.stderr[-STDERR_TAIL:]!r}",
                    kind="run_broke_off",
                    said=execution.stderr,
                )
            if ref is None:
                raise SessionReplyError(
                    f"the session gave no report; it said: {execution.stderr[-STDERR_TAIL:]!r}", said=execution.stderr
                )
            body = ref["body"]
            if body is None:
                body = protocol.check_report(await self._client.read(self._identifier, file, REPORT_LIMIT), ref)
        except protocol.ProtocolError as error:
            raise SessionReplyError(f"the session's report cannot be used: {error}") from None
        return SessionReport.parse(body)


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data
