"""The fake session pool behaves as the emulator does: the same calls have the same outcomes."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from io import BytesIO

import pytest
from PIL import Image

from pipeline.engine import protocol
from pipeline.errors import PipelineError, PoolFull, PoolUnavailable, SessionLost
from pipeline.pool import engine_bundle
from pipeline.pool.client import PoolClient
from pipeline.settings import MIB, Settings
from pipeline.testing import FakePool
from pipeline.testing import pool as faults
from tests.engine.conftest import KEY


def whole(data: bytes) -> Callable[[], AsyncIterator[bytes]]:
    """Return chunks as the client asks for them."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), MIB):
            yield data[start : start + MIB]

    return chunks


@pytest.fixture
async def session(pool: PoolClient) -> AsyncIterator[str]:
    """Identifier of a session; it ends with the test."""
    identifier = secrets.token_hex(16)
    yield identifier
    await pool.end(identifier)


@pytest.mark.parametrize("size", [3, 3 * MIB])
async def test_a_file_comes_back_as_it_was_uploaded(pool: PoolClient, session: str, size: int) -> None:
    data = secrets.token_bytes(size)
    await pool.upload(session, "in-1.bin", size, whole(data))
    assert await pool.read(session, "in-1.bin", size) == data
    await pool.delete(session, "in-1.bin")
    with pytest.raises(SessionLost, match="HTTP 404 FileNotFound"):
        await pool.read(session, "in-1.bin", size)
    await pool.delete(session, "in-1.bin")


async def test_a_session_that_does_not_exist_can_be_ended(pool: PoolClient) -> None:
    await pool.end(secrets.token_hex(16))


async def test_a_session_without_the_engine_says_so(pool: PoolClient, session: str) -> None:
    bundle = engine_bundle.build()
    execution = await pool.execute(session, bundle.program(protocol.encode_jobs(), KEY), 60)
    assert execution.ok
    assert execution.stdout.strip() == f"{engine_bundle.MISSING} {KEY}"


async def test_the_engine_makes_the_same_rendition(pool: PoolClient, session: str) -> None:
    bundle, image = engine_bundle.build(), BytesIO()
    Image.linear_gradient("L").convert("RGB").save(image, "PNG")
    source = image.getvalue()
    await pool.upload(session, bundle.name, len(bundle.data), whole(bundle.data))
    await pool.upload(session, "in-1.bin", len(source), whole(source))
    limits = Settings(pool_endpoint="http://127.0.0.1:1").limits
    rendition = protocol.RenditionJob(
        name="small",
        file="out-1-0.png",
        format="png",
        options={},
        transforms=[protocol.Step(name="resize", params={"width": 32})],
    )
    job = protocol.Job(
        version=protocol.VERSION,
        source="in-1.bin",
        report="report-1.json",
        remove=[],
        formats=["PNG"],
        limits=limits,
        transforms=[],
        renditions=[rendition],
    )
    execution = await pool.execute(session, bundle.program(protocol.encode_jobs(job), KEY), 60)
    line = protocol.parse_report_line(execution.stdout, KEY)
    assert line is not None
    assert line["body"] is not None
    assert b'"failure":null' in line["body"]
    made = Image.open(BytesIO(await pool.read(session, "out-1-0.png", MIB)))
    assert made.size == (32, 32)
    with pytest.raises(SessionLost, match="404"):
        await pool.read(session, "in-1.bin", MIB)


# -- faults of the fake pool, as the client understands them ---------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error", "kind"),
    [
        (faults.FULL, PoolFull, "pool_full"),
        (faults.THROTTLED, PoolUnavailable, "pool_unavailable"),
        (faults.TIMED_OUT, SessionLost, "execution_timeout"),
        (faults.DIED, SessionLost, "session_died"),
        (faults.UNREACHABLE, PoolUnavailable, "pool_unreachable"),
        (faults.BROKEN_OFF, SessionLost, "session_lost"),
        (faults.status(401), PoolUnavailable, "pool_denied"),
        (faults.status(404), PoolUnavailable, "pool_not_found"),
    ],
)
async def test_a_fault_of_an_execution(fault: faults.Fault, error: type[PipelineError], kind: str) -> None:
    fake = FakePool()
    client = PoolClient(Settings(pool_endpoint="http://127.0.0.1:1", retry_max_attempts=1), None, transport=fake)
    fake.fail("POST executions", fault)
    with pytest.raises(error) as caught:
        await client.execute("identifier", "code", 1)
    assert caught.value.kind == kind
    await client.close()


async def test_a_throttled_call_is_repeated() -> None:
    fake = FakePool()
    client = PoolClient(Settings(pool_endpoint="http://127.0.0.1:1", retry_max_attempts=3), None, transport=fake)
    fake.fail("POST files", faults.status(503, Retry_After="0"), times=2)
    await client.upload("identifier", "a", 1, whole(b"1"))
    assert fake.calls == ["POST files"] * 3
    await client.close()


async def test_a_full_pool_takes_no_further_session() -> None:
    fake = FakePool(max_sessions=1)
    client = PoolClient(Settings(pool_endpoint="http://127.0.0.1:1", retry_max_attempts=1), None, transport=fake)
    await client.upload("first", "a", 1, whole(b"1"))
    with pytest.raises(PoolFull):
        await client.upload("second", "a", 1, whole(b"1"))
    await client.end("first")
    await client.upload("second", "a", 1, whole(b"1"))
    await client.close()


async def test_a_replaced_session_has_no_files() -> None:
    fake = FakePool()
    client = PoolClient(Settings(pool_endpoint="http://127.0.0.1:1", retry_max_attempts=1), None, transport=fake)
    await client.upload("identifier", "a", 1, whole(b"1"))
    fake.fail("GET files/a", faults.REPLACED)
    with pytest.raises(SessionLost):
        await client.read("identifier", "a", 1)
    await client.close()
