"""What the pool answers, in every form that was recorded, becomes the right one of the pipeline's errors."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError

from pipeline.errors import (
    JobSuperseded,
    PipelineError,
    PoolFull,
    PoolUnavailable,
    SessionLost,
    SessionReplyError,
)
from pipeline.identity import Identity
from pipeline.pool.auth import SCOPE, PoolToken
from pipeline.pool.client import PoolClient
from pipeline.settings import Settings
from tests.waiting import eventually

FULL = "Error happened when allocating pod for identifier secret-identifier in pool p"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answer(status: int, body: object, **headers: str) -> bytes:
    """A whole HTTP answer."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status} X", f"Content-Length: {len(text)}", *lines, "", ""]).encode() + text


class Pool:
    """A server that gives one prepared answer after another, the last one for ever, and keeps what it was sent."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.heads: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                self.heads.append(head)
                length = [line for line in head.lower().splitlines() if line.startswith("content-length:")]
                await reader.readexactly(int(length[0].split(":")[1]) if length else 0)
                writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def pool_with(*answers: bytes, token: PoolToken | None = None) -> AsyncIterator[tuple[PoolClient, Pool]]:
    """A client of a pool that answers like this."""
    pool = Pool(*answers)
    server = await asyncio.start_server(pool.serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    settings = Settings(pool_endpoint=f"http://127.0.0.1:{address[1]}", retry_max_attempts=3, retry_timeout=5)
    client = PoolClient(settings, token)
    try:
        yield client, pool
    finally:
        await client.close()
        server.close()


REFUSALS = {
    "full, as custom pools say it": (
        answer(429, {"error": {"code": "x", "message": FULL}}),
        PoolFull,
        "no free session",
    ),
    "full, with another status": (answer(500, {"error": {"message": FULL}}), PoolFull, "no free session"),
    "full, as shell pools say it": (answer(429, {"code": "SessionsCountExceedsLimit", "message": "…"}), PoolFull, ""),
    "an unknown api-version": (answer(401, b""), PoolUnavailable, "PIPELINE_POOL_API_VERSION"),
    "no role": (answer(403, b"<html>"), PoolUnavailable, "Azure ContainerApps Session Executor"),
    "no pool there": (answer(404, {}), PoolUnavailable, "PIPELINE_POOL_ENDPOINT"),
    "a full disk": (answer(413, b""), SessionLost, "disk is full"),
    "a wrong body": (
        answer(400, {"error": {"code": "SessionPropertiesMissing"}}),
        SessionReplyError,
        "PropertiesMissing",
    ),
    "an error of the service": (answer(503, b""), PoolUnavailable, "503"),
    "a redirect": (answer(302, b"", Location="http://127.0.0.1:1/"), SessionReplyError, "302"),
    "an endless answer": (answer(200, b"x" * 2_000_000), SessionReplyError, "longer than"),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_a_refusal_becomes_the_right_error_and_never_tells_the_identifier(case: str) -> None:
    sent, kind, says = REFUSALS[case]
    async with pool_with(sent) as (client, _):
        with pytest.raises(kind) as caught:
            await client.execute("secret-identifier", "1", 9)
        assert says in str(caught.value)
        assert "secret-identifier" not in str(caught.value)


ENDS = {
    "execution_timeout": {"stderr": "Request timed out waiting for code execution to complete"},
    "session_died": {"stderr": "Execution aborted"},
}


@pytest.mark.parametrize("kind", ENDS)
async def test_a_run_that_was_stopped_is_a_lost_session(kind: str) -> None:
    async with pool_with(answer(200, {"status": "Failed", "result": ENDS[kind]})) as (client, _):
        with pytest.raises(SessionLost) as caught:
            await client.execute("identifier", "1", 9)
        assert caught.value.kind == kind


async def test_failed_code_is_a_200_that_is_not_ok() -> None:
    async with pool_with(answer(200, {"status": "Failed", "result": {"stderr": "boom"}})) as (client, _):
        execution = await client.execute("identifier", "1", 9)
    assert (execution.ok, execution.stderr) == (False, "boom")


async def test_a_run_that_is_answered_early_is_followed_to_its_end() -> None:
    early = answer(202, {"id": "op-1", "status": "Running"})
    end = answer(200, {"status": "Succeeded", "result": {"stdout": "42"}})
    async with pool_with(early, early, end) as (client, pool):
        assert (await client.execute("identifier", "1", 9)).stdout == "42"
    assert pool.heads[1].startswith("GET /executions/op-1?")


async def test_garbage_is_not_a_successful_run() -> None:
    for body in (b"", b"[]", b"{", b'{"status":5,"result":7}', b"[" * 100_000):
        async with pool_with(answer(200, body)) as (client, _):
            assert not (await client.execute("identifier", "1", 9)).ok


async def test_a_pool_that_asks_to_wait_is_asked_again_after_that() -> None:
    full = answer(503, b"", Retry_After="1")
    async with pool_with(full, answer(200, {"status": "Succeeded"})) as (client, pool):
        started = time.monotonic()
        assert (await client.execute("identifier", "1", 9)).ok
        assert time.monotonic() - started >= 1
    assert len(pool.heads) == 2


async def test_a_pool_that_asks_for_more_time_than_a_call_may_take_is_not_waited_for() -> None:
    for after in ("100", "9" * 400):
        async with pool_with(answer(503, b"", Retry_After=after)) as (client, pool):
            with pytest.raises(PoolUnavailable) as caught:
                await client.execute("identifier", "1", 9)
        assert len(pool.heads) == 1
        assert caught.value.retry_after is not None


@pytest.mark.parametrize("body", [{"error": {"code": "SessionWithIdentifierNotFound"}}, {"code": "SessionNotFound"}])
async def test_ending_a_session_that_is_gone_is_fine(body: dict[str, object]) -> None:
    for status in (400, 404):
        async with pool_with(answer(status, body)) as (client, _):
            await client.end("identifier")


@pytest.mark.parametrize(("status", "code"), [(400, "SessionRequestNotSupported"), (404, "NotFound"), (404, "")])
async def test_a_pool_that_cannot_end_sessions_says_so(status: int, code: str) -> None:
    """A pool without that call answers 404 too; its sessions are then still there."""
    async with pool_with(answer(status, {"error": {"code": code}})) as (client, _):
        with pytest.raises(PoolUnavailable, match="cannot end"):
            await client.end("identifier")


class Credential:
    """Gives tokens that last as long as it is told."""

    def __init__(self, *lifetimes: float) -> None:
        self.lifetimes = list(lifetimes)
        self.given = 0

    async def get_token(self, *scopes: str, **_: object) -> AccessToken:
        assert scopes == (SCOPE,)
        if not self.lifetimes:
            raise ClientAuthenticationError("no identity")
        self.given += 1
        return AccessToken(f"token-{self.given}", int(time.time() + self.lifetimes.pop(0)))

    async def close(self) -> None: ...

    async def __aenter__(self) -> Credential:
        return self

    async def __aexit__(self, *_: object) -> None: ...


async def test_one_token_serves_all_calls_until_shortly_before_it_ends() -> None:
    credential = Credential(3600, 3600)
    token = PoolToken(Identity(credential))
    assert [await token.header() for _ in range(3)] == [{"Authorization": "Bearer token-1"}] * 3
    late = PoolToken(Identity(Credential(5, 3600)))
    assert [(await late.header())["Authorization"] for _ in range(2)] == ["Bearer token-1", "Bearer token-2"]


async def test_a_token_that_is_soon_too_old_serves_while_a_new_one_is_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.pool.auth.REFRESH_INTERVAL_SECONDS", 0)
    credential = Slow(200, 3600)
    token = PoolToken(Identity(credential))
    credential.answers.set()
    assert await token.header() == {"Authorization": "Bearer token-1"}
    credential.answers.clear()
    assert [await token.header() for _ in range(3)] == [{"Authorization": "Bearer token-1"}] * 3
    credential.answers.set()

    async def renewed() -> bool:
        return await token.header() == {"Authorization": "Bearer token-2"}

    await eventually(renewed)
    assert credential.asked == 2


async def test_all_calls_wait_for_one_answer_of_an_identity_service_that_hangs() -> None:
    """One after another, they would wait so long that their jobs were given up."""
    credential = Slow(3600)
    token = PoolToken(Identity(credential, timeout=0.2))
    ends = await asyncio.gather(*(token.header() for _ in range(50)), return_exceptions=True)
    assert {getattr(end, "kind", "") for end in ends} == {"identity_unavailable"}
    assert credential.asked == 1
    credential.answers.set()
    assert await token.header() == {"Authorization": "Bearer token-1"}


async def test_a_token_that_the_pool_refuses_is_fetched_anew() -> None:
    token = PoolToken(Identity(Credential(3600, 3600)))
    async with pool_with(answer(401, b""), answer(200, {"status": "Succeeded"}), token=token) as (client, pool):
        assert (await client.execute("identifier", "1", 9)).ok
    assert ["token-1" in pool.heads[0], "token-2" in pool.heads[1]] == [True, True]


async def test_a_token_that_is_refused_at_a_download_is_fetched_anew() -> None:
    token = PoolToken(Identity(Credential(3600, 3600)))
    async with pool_with(answer(401, b""), answer(200, b"whole"), token=token) as (client, pool):
        assert await client.read("identifier", "report.json", 10) == b"whole"
    assert ["token-1" in pool.heads[0], "token-2" in pool.heads[1]] == [True, True]


async def test_a_refusal_that_comes_late_does_not_cost_the_token_that_came_after() -> None:
    token = PoolToken(Identity(Credential(3600, 3600, 3600)))
    first = (await token.header())["Authorization"]
    token.mark_refused(first)
    second = await token.header()
    token.mark_refused(first)
    assert await token.header() == second == {"Authorization": "Bearer token-2"}


async def test_a_pool_that_refuses_every_token_does_not_have_the_identity_asked_with_every_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.pool.auth.REFRESH_INTERVAL_SECONDS", 10_000)
    credential = Credential(*[3600] * 9)
    token = PoolToken(Identity(credential))
    for _ in range(9):
        token.mark_refused((await token.header())["Authorization"])
    assert credential.given == 2


async def test_nobody_signed_in_is_said_with_what_to_do() -> None:
    with pytest.raises(PoolUnavailable, match="az login") as caught:
        await PoolToken(Identity(Credential())).header()
    assert caught.value.kind == "identity_denied"


class Slow(Credential):
    """An identity service that takes its time."""

    def __init__(self, *lifetimes: float) -> None:
        super().__init__(*lifetimes)
        self.answers = asyncio.Event()
        self.asked = 0

    async def get_token(self, *scopes: str, **options: object) -> AccessToken:
        self.asked += 1
        await self.answers.wait()
        return await super().get_token(*scopes, **options)


class Unreachable(Credential):
    """An identity service that does not answer, as managed identities are now and then."""

    async def get_token(self, *scopes: str, **_: object) -> AccessToken:
        raise ServiceRequestError("no route")


async def test_an_identity_service_that_does_not_answer_is_transient_wherever_it_is_met() -> None:
    async with pool_with(answer(200, {}), token=PoolToken(Identity(Unreachable()))) as (client, pool):
        for call in (client.execute("i", "1", 9), client.end("i")):
            with pytest.raises(PoolUnavailable, match="identity service"):
                await call
    assert pool.heads == []


async def test_every_error_is_one_of_the_pipelines() -> None:
    async with pool_with(b"nonsense\r\n\r\n") as (client, _):
        for call in (client.execute("i", "1", 9), client.delete("i", "a"), client.end("i")):
            with pytest.raises(PipelineError):
                await call


async def test_a_peer_that_gives_one_byte_at_a_time_is_cut_off() -> None:
    """Each byte comes well within any timeout on reading; the headers, an answer's body, a download's body."""
    whole = answer(200, b"x" * 2_000_000)
    begins = {"the headers": 10, "the body": whole.index(b"\r\n\r\n") + 5}

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, at: int) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(whole[:at])
        with suppress(ConnectionError):
            for byte in whole[at:]:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()

    for at in begins.values():
        async with serving(lambda reader, writer, at=at: drip(reader, writer, at)) as client:  # type: ignore[misc]
            with pytest.raises(PoolUnavailable, match="broke off"):
                await client._call("GET", "files", "identifier", "list")
            with pytest.raises(PoolUnavailable, match="download"):
                async with client.download("identifier", "a.bin") as chunks:
                    [chunk async for chunk in chunks]


async def test_a_peer_that_takes_nothing_in_is_cut_off() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(60)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(1024 * 1024)

    async with serving(deaf) as client:
        with pytest.raises(PoolUnavailable, match="upload"):
            await client.upload("identifier", "a.bin", 64 * 1024 * 1024, chunks)


async def test_an_upload_may_take_as_long_as_its_source_does() -> None:
    """What is slow then is storage, which has deadlines of its own."""

    async def slowly() -> AsyncIterator[bytes]:
        await asyncio.sleep(1.5)
        yield b"x" * 600_000
        await asyncio.sleep(1.5)
        yield b"x" * 600_000

    pool = Pool(answer(200, {}))
    async with serving(pool.serve) as client:
        await client.upload("identifier", "a.bin", 1_200_000, slowly)


@pytest.mark.parametrize("size", [200_000, 3_000_000], ids=["in one piece", "in several"])
async def test_a_source_that_changes_while_it_is_uploaded_is_said_to_have_changed(size: int) -> None:
    async def changing() -> AsyncIterator[bytes]:
        yield bytes(size // 2)
        raise JobSuperseded("it changed") from ValueError("what storage said")

    pool = Pool(answer(200, {}))
    async with serving(pool.serve) as client:
        with pytest.raises(JobSuperseded, match="it changed"):
            await client.upload("identifier", "a.bin", size, changing)


async def test_a_run_whose_connection_breaks_is_a_lost_session_and_not_sent_again() -> None:
    heads: list[bytes] = []

    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with serving(breaks) as client:
        with pytest.raises(SessionLost, match="broke off"):
            await client.execute("identifier", "1", 9)
    assert len(heads) == 1


async def test_an_upload_that_is_refused_early_leaves_its_source_alone() -> None:
    left = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(1024 * 1024)
        finally:
            left.set()

    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(413, {}))
        await writer.drain()
        while await reader.read(65536):
            pass

    async def refused(client: PoolClient) -> str:
        try:
            await client.upload("identifier", "a.bin", 1 << 40, endless)
        except SessionLost as error:
            return error.kind
        return "taken"

    async with serving(refuses) as client:
        assert await refused(client) == "session_full"
        await asyncio.wait_for(left.wait(), 30)


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[PoolClient]:
    """A client that waits a second for progress, of a server that does as it likes."""
    tasks: set[asyncio.Task[None]] = set()

    async def kept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        with suppress(asyncio.CancelledError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(kept, "127.0.0.1", 0)
    settings = Settings(
        pool_endpoint=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", transfer_timeout=1, retry_max_attempts=1
    )
    client = PoolClient(settings, None)
    try:
        yield client
    finally:
        await client.close()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
