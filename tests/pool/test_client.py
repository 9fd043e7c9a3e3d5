"""Client of the session pool: recorded responses map to the right errors; retries, tokens, and stall timeouts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
import stamina
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
from pipeline.pool import client as client_module
from pipeline.pool.auth import SCOPE, PoolToken
from pipeline.pool.client import PoolClient, single_chunk
from pipeline.settings import Settings
from tests.waiting import eventually

STALL_TIMEOUT_SECONDS = 0.3
FULL = "Error happened when allocating pod for identifier secret-identifier in pool p"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
def _no_backoff() -> Iterator[None]:
    """Retry without a delay."""
    stamina.set_testing(True, attempts=3, cap=True)
    yield
    stamina.set_testing(False)


def response(status: int, body: object, **headers: str) -> bytes:
    """Build a complete HTTP response."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status} X", f"Content-Length: {len(text)}", *lines, "", ""]).encode() + text


class Pool:
    """Server that sends prepared responses in order, then repeats the last one. It records request heads."""

    def __init__(self, *responses: bytes) -> None:
        self.responses = list(responses)
        self.heads: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                self.heads.append(head)
                length = [line for line in head.lower().splitlines() if line.startswith("content-length:")]
                await reader.readexactly(int(length[0].split(":")[1]) if length else 0)
                writer.write(self.responses.pop(0) if len(self.responses) > 1 else self.responses[0])
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def pool_with(*responses: bytes, token: PoolToken | None = None) -> AsyncIterator[tuple[PoolClient, Pool]]:
    """Yield a client of a pool that sends these responses, and the pool."""
    pool = Pool(*responses)
    server = await asyncio.start_server(pool.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = Settings(pool_endpoint=f"http://127.0.0.1:{port}", retry_max_attempts=3, retry_timeout=5)
    client = PoolClient(settings, token)
    try:
        yield client, pool
    finally:
        await client.close()
        server.close()


REFUSALS = {
    "full, custom pool": (
        response(429, {"error": {"code": "x", "message": FULL}}),
        PoolFull,
        "no free session",
    ),
    "full, status 500": (response(500, {"error": {"message": FULL}}), PoolFull, "no free session"),
    "full, shell pool": (response(429, {"code": "SessionsCountExceedsLimit", "message": "…"}), PoolFull, ""),
    "unknown api-version": (response(401, b""), PoolUnavailable, "PIPELINE_POOL_API_VERSION"),
    "no role": (response(403, b"<html>"), PoolUnavailable, "Azure ContainerApps Session Executor"),
    "no pool": (response(404, {}), PoolUnavailable, "PIPELINE_POOL_ENDPOINT"),
    "full disk": (response(413, b""), SessionLost, "disk is full"),
    "wrong body": (
        response(400, {"error": {"code": "SessionPropertiesMissing"}}),
        PoolUnavailable,
        "PropertiesMissing",
    ),
    "service error": (response(503, b""), PoolUnavailable, "503"),
    "redirect": (response(302, b"", Location="http://127.0.0.1:1/"), PoolUnavailable, "302"),
    "endless response": (response(200, b"x" * 2_000_000), SessionReplyError, "longer than"),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_a_refusal_maps_to_an_error_without_the_identifier(case: str) -> None:
    sent, error, text = REFUSALS[case]
    async with pool_with(sent) as (client, _):
        with pytest.raises(error) as caught:
            await client.execute("secret-identifier", "1", 9)
        assert text in str(caught.value)
        assert "secret-identifier" not in str(caught.value)


STOPPED = {
    "execution_timeout": {"stderr": "Request timed out waiting for code execution to complete"},
    "session_died": {"stderr": "Execution aborted"},
}


@pytest.mark.parametrize("kind", STOPPED)
async def test_a_stopped_execution_is_a_lost_session(kind: str) -> None:
    async with pool_with(response(200, {"status": "Failed", "result": STOPPED[kind]})) as (client, _):
        with pytest.raises(SessionLost) as caught:
            await client.execute("identifier", "1", 9)
        assert caught.value.kind == kind


async def test_failed_code_is_a_200_that_is_not_ok() -> None:
    async with pool_with(response(200, {"status": "Failed", "result": {"stderr": "boom"}})) as (client, _):
        execution = await client.execute("identifier", "1", 9)
    assert (execution.ok, execution.stderr) == (False, "boom")


async def test_a_running_execution_is_polled_until_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "POLL_INTERVAL_SECONDS", 0.01)
    early = response(202, {"id": "op-1", "status": "Running"})
    end = response(200, {"status": "Succeeded", "result": {"stdout": "42"}})
    async with pool_with(early, early, end) as (client, pool):
        assert (await client.execute("identifier", "1", 9)).stdout == "42"
    assert pool.heads[1].startswith("GET /executions/op-1?")


async def test_garbage_is_no_successful_execution() -> None:
    for body in (b"", b"[]", b"{", b'{"status":5,"result":7}', b"[" * 100_000):
        async with pool_with(response(200, body)) as (client, _):
            assert not (await client.execute("identifier", "1", 9)).ok


@pytest.mark.parametrize("status", [503, 429])
async def test_a_call_is_repeated_after_retry_after(status: int) -> None:
    stamina.set_testing(False)
    async with pool_with(response(status, b"", Retry_After="1"), response(200, {"status": "Succeeded"})) as (
        client,
        pool,
    ):
        started = time.monotonic()
        assert (await client.execute("identifier", "1", 9)).ok
        assert time.monotonic() - started >= 1
    assert len(pool.heads) == 2


async def test_a_long_retry_after_is_not_waited_for() -> None:
    for after in ("100", "9" * 400):
        async with pool_with(response(503, b"", Retry_After=after)) as (client, pool):
            with pytest.raises(PoolUnavailable) as caught:
                await client.execute("identifier", "1", 9)
        assert len(pool.heads) == 1
        assert caught.value.retry_after is not None


@pytest.mark.parametrize("status", [307, 400, 408, 409, 418, 425])
async def test_an_undocumented_answer_is_retried_and_counted(status: int) -> None:
    async with pool_with(response(status, b""), response(200, {"status": "Succeeded"})) as (client, pool):
        assert (await client.execute("identifier", "1", 9)).ok
    assert len(pool.heads) == 2
    async with pool_with(response(status, b"")) as (client, _):
        with pytest.raises(PoolUnavailable) as caught:
            await client.execute("identifier", "1", 9)
    assert (caught.value.kind, caught.value.service, caught.value.dependency) == ("pool_refused", "", "pool")


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
async def test_a_refusal_of_all_calls_is_a_fault_of_the_pool(status: int) -> None:
    async with pool_with(response(status, b"")) as (client, _):
        with pytest.raises(PoolUnavailable) as caught:
            await client.upload("identifier", "a.bin", 1, lambda: single_chunk(b"x"))
    assert caught.value.service == "pool"


@pytest.mark.parametrize("body", [{"error": {"code": "SessionWithIdentifierNotFound"}}, {"code": "SessionNotFound"}])
async def test_ending_a_missing_session_succeeds(body: dict[str, object]) -> None:
    for status in (400, 404):
        async with pool_with(response(status, body)) as (client, _):
            await client.end("identifier")


@pytest.mark.parametrize(("status", "code"), [(400, "SessionRequestNotSupported"), (404, "NotFound"), (404, "")])
async def test_a_pool_that_cannot_end_sessions_is_unavailable(status: int, code: str) -> None:
    """A pool without that call also responds with 404, but its sessions still exist."""
    async with pool_with(response(status, {"error": {"code": code}})) as (client, _):
        with pytest.raises(PoolUnavailable, match="cannot end"):
            await client.end("identifier")


class Credential:
    """Credential whose tokens have given lifetimes in seconds."""

    def __init__(self, *lifetimes: float) -> None:
        self.lifetimes = list(lifetimes)
        self.count = 0

    async def get_token(self, *scopes: str, **_: object) -> AccessToken:
        assert scopes == (SCOPE,)
        if not self.lifetimes:
            raise ClientAuthenticationError("no identity")
        self.count += 1
        return AccessToken(f"token-{self.count}", int(time.time() + self.lifetimes.pop(0)))

    async def close(self) -> None: ...

    async def __aenter__(self) -> Credential:
        return self

    async def __aexit__(self, *_: object) -> None: ...


async def test_one_token_serves_all_calls_until_it_is_about_to_expire() -> None:
    credential = Credential(3600, 3600)
    token = PoolToken(Identity(credential))
    assert [await token.header() for _ in range(3)] == [{"Authorization": "Bearer token-1"}] * 3
    late = PoolToken(Identity(Credential(5, 3600)))
    assert [(await late.header())["Authorization"] for _ in range(2)] == ["Bearer token-1", "Bearer token-2"]


async def test_an_expiring_token_is_refreshed_in_the_background(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.pool.auth.REFRESH_INTERVAL_SECONDS", 0)
    credential = SlowCredential(200, 3600)
    token = PoolToken(Identity(credential))
    credential.ready.set()
    assert await token.header() == {"Authorization": "Bearer token-1"}
    credential.ready.clear()
    assert [await token.header() for _ in range(3)] == [{"Authorization": "Bearer token-1"}] * 3
    credential.ready.set()

    async def renewed() -> bool:
        return await token.header() == {"Authorization": "Bearer token-2"}

    await eventually(renewed)
    assert credential.requests == 2


async def test_all_calls_share_one_request_to_a_hanging_identity() -> None:
    """One after another, they would wait until their jobs time out."""
    credential = SlowCredential(3600)
    token = PoolToken(Identity(credential, timeout=0.2))
    errors = await asyncio.gather(*(token.header() for _ in range(50)), return_exceptions=True)
    assert {getattr(error, "kind", "") for error in errors} == {"identity_unavailable"}
    assert credential.requests == 1
    credential.ready.set()
    assert await token.header() == {"Authorization": "Bearer token-1"}


async def test_a_refused_token_is_replaced() -> None:
    token = PoolToken(Identity(Credential(3600, 3600)))
    async with pool_with(response(401, b""), response(200, {"status": "Succeeded"}), token=token) as (client, pool):
        assert (await client.execute("identifier", "1", 9)).ok
    assert ["token-1" in pool.heads[0], "token-2" in pool.heads[1]] == [True, True]


async def test_a_token_refused_at_a_download_is_replaced() -> None:
    token = PoolToken(Identity(Credential(3600, 3600)))
    async with pool_with(response(401, b""), response(200, b"whole"), token=token) as (client, pool):
        assert await client.read("identifier", "report.json", 10) == b"whole"
    assert ["token-1" in pool.heads[0], "token-2" in pool.heads[1]] == [True, True]


async def test_a_late_refusal_keeps_the_newer_token() -> None:
    token = PoolToken(Identity(Credential(3600, 3600, 3600)))
    first = (await token.header())["Authorization"]
    token.mark_refused(first)
    second = await token.header()
    token.mark_refused(first)
    assert await token.header() == second == {"Authorization": "Bearer token-2"}


async def test_a_pool_that_refuses_all_tokens_costs_one_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.pool.auth.REFRESH_INTERVAL_SECONDS", 10_000)
    credential = Credential(*[3600] * 9)
    token = PoolToken(Identity(credential))
    for _ in range(9):
        token.mark_refused((await token.header())["Authorization"])
    assert credential.count == 2


async def test_a_missing_sign_in_names_the_remedy() -> None:
    with pytest.raises(PoolUnavailable, match="az login") as caught:
        await PoolToken(Identity(Credential())).header()
    assert caught.value.kind == "identity_denied"


class SlowCredential(Credential):
    """Credential that waits for an event."""

    def __init__(self, *lifetimes: float) -> None:
        super().__init__(*lifetimes)
        self.ready = asyncio.Event()
        self.requests = 0

    async def get_token(self, *scopes: str, **options: object) -> AccessToken:
        self.requests += 1
        await self.ready.wait()
        return await super().get_token(*scopes, **options)


class UnreachableCredential(Credential):
    """Credential whose identity service does not respond, which happens with managed identities."""

    async def get_token(self, *scopes: str, **_: object) -> AccessToken:
        raise ServiceRequestError("no route")


async def test_an_unreachable_identity_service_is_transient() -> None:
    async with pool_with(response(200, {}), token=PoolToken(Identity(UnreachableCredential()))) as (client, pool):
        for call in (client.execute("i", "1", 9), client.end("i")):
            with pytest.raises(PoolUnavailable, match="identity service"):
                await call
    assert pool.heads == []


async def test_every_error_is_one_of_the_pipelines() -> None:
    async with pool_with(b"nonsense\r\n\r\n") as (client, _):
        for call in (client.execute("i", "1", 9), client.delete("i", "a"), client.end("i")):
            with pytest.raises(PipelineError):
                await call


async def test_a_server_that_sends_byte_by_byte_is_cut_off() -> None:
    """Each byte arrives within any read timeout; in the head and in the body of a response, and in a download."""
    complete = response(200, b"x" * 2_000_000)
    starts = {"head": 10, "body": complete.index(b"\r\n\r\n") + 5}

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, start: int) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(complete[:start])
        with suppress(ConnectionError):
            for byte in complete[start:]:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()

    for start in starts.values():
        async with serving(lambda reader, writer, start=start: drip(reader, writer, start)) as client:  # type: ignore[misc]
            with pytest.raises(PoolUnavailable, match="broke"):
                await client._call("GET", "files", "identifier", "list")
            with pytest.raises(PoolUnavailable, match="download"):
                async with client.download("identifier", "a.bin") as chunks:
                    [chunk async for chunk in chunks]


async def test_a_server_that_reads_nothing_is_cut_off() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(60)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(1024 * 1024)

    async with serving(deaf) as client:
        with pytest.raises(PoolUnavailable, match="upload"):
            await client.upload("identifier", "a.bin", 64 * 1024 * 1024, chunks)


async def test_a_slow_source_does_not_time_out() -> None:
    """Storage is slow then, and has its own timeouts."""

    async def slowly() -> AsyncIterator[bytes]:
        await asyncio.sleep(1.5 * STALL_TIMEOUT_SECONDS)
        yield b"x" * 600_000
        await asyncio.sleep(1.5 * STALL_TIMEOUT_SECONDS)
        yield b"x" * 600_000

    pool = Pool(response(200, {}))
    async with serving(pool.serve) as client:
        await client.upload("identifier", "a.bin", 1_200_000, slowly)


@pytest.mark.parametrize("size", [200_000, 3_000_000], ids=["one chunk", "several chunks"])
async def test_a_source_that_changes_during_its_upload_is_reported(size: int) -> None:
    async def changing() -> AsyncIterator[bytes]:
        yield bytes(size // 2)
        raise JobSuperseded("it changed") from ValueError("the error of storage")

    pool = Pool(response(200, {}))
    async with serving(pool.serve) as client:
        with pytest.raises(JobSuperseded, match="it changed"):
            await client.upload("identifier", "a.bin", size, changing)


async def test_an_execution_whose_connection_breaks_is_not_repeated() -> None:
    heads: list[bytes] = []

    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with serving(breaks) as client:
        with pytest.raises(SessionLost, match="broke"):
            await client.execute("identifier", "1", 9)
    assert len(heads) == 1


async def test_an_upload_that_is_refused_early_closes_its_source() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(1024 * 1024)
        finally:
            closed.set()

    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(413, {}))
        await writer.drain()
        while await reader.read(65536):
            pass

    async def refused(client: PoolClient) -> str:
        try:
            await client.upload("identifier", "a.bin", 1 << 40, endless)
        except SessionLost as error:
            return error.kind
        return "accepted"

    async with serving(refuses) as client:
        assert await refused(client) == "session_full"
        await asyncio.wait_for(closed.wait(), 30)


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[PoolClient]:
    """Yield a client with a short stall timeout, of a server with any behavior."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        with suppress(asyncio.CancelledError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    settings = Settings(pool_endpoint=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", retry_max_attempts=1)
    # Shorter than the settings allow.
    settings = settings.model_copy(update={"transfer_timeout": STALL_TIMEOUT_SECONDS})
    client = PoolClient(settings, None)
    try:
        yield client
    finally:
        await client.close()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
