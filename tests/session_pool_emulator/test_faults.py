"""Bad days on demand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from session_pool_emulator.faults import Fault, FaultKind, FaultPlan
from tests.session_pool_emulator.running import RunningPool, running

pytestmark = pytest.mark.asyncio(loop_scope="module")
SESSION = "faulty-session"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[RunningPool]:
    """A server with the admin route."""
    async with running("--admin", "--max-sessions", "3", "--spares", "2") as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def pool(server: RunningPool) -> AsyncIterator[RunningPool]:
    """The server with no fault in force, before and after."""
    await server.http.delete("/.admin/faults")
    yield server
    await server.http.delete("/.admin/faults")


async def inject(pool: RunningPool, *faults: str, seed: int = 0) -> None:
    """Put `faults` in force."""
    answer = await pool.http.put("/.admin/faults", json={"faults": faults, "seed": seed})
    assert answer.status_code == 200, answer.text


async def statuses(pool: RunningPool, count: int) -> list[int]:
    """The statuses of `count` calls, one after another."""
    return [
        (await pool.http.get(f"/files?api-version=2025-10-02-preview&identifier={SESSION}")).status_code
        for _ in range(count)
    ]


async def test_the_next_calls_fail_and_then_all_is_well(pool: RunningPool) -> None:
    await inject(pool, "status:code=429,next=2,retry_after=7", "status:code=503,next=1,method=post,on=executions")
    answer = await pool.http.get(f"/files?api-version=2025-10-02-preview&identifier={SESSION}")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert await statuses(pool, 3) == [429, 200, 200]
    answer = await pool.http.post(
        f"/executions?api-version=2025-10-02-preview&identifier={SESSION}", json={"code": "1"}
    )
    assert answer.status_code == 503
    assert (await pool.http.get("/.admin/faults")).json() == {"faults": []}


async def test_the_same_seed_gives_the_same_run(pool: RunningPool) -> None:
    runs = []
    for seed in (1, 1, 2):
        await inject(pool, "status:code=500,rate=0.5", seed=seed)
        runs.append(await statuses(pool, 30))
    assert runs[0] == runs[1] != runs[2]
    assert {200, 500} == set(runs[0])


async def test_a_call_can_be_slow_by_itself_and_by_the_megabyte(pool: RunningPool) -> None:
    await inject(pool, "latency:seconds=0.3")
    started = time.monotonic()
    await statuses(pool, 1)
    assert time.monotonic() - started >= 0.3
    await inject(pool, "latency:per_mb=0.2,on=files,method=POST")
    started = time.monotonic()
    await pool.put(SESSION, "two.bin", bytes(2_000_000))
    assert time.monotonic() - started >= 0.4


async def test_a_connection_can_close_without_an_answer(pool: RunningPool) -> None:
    await inject(pool, "drop:next=1")
    with pytest.raises(httpx.RemoteProtocolError):
        await statuses(pool, 1)
    assert await statuses(pool, 1) == [200]


async def test_an_answer_can_be_cut_short(pool: RunningPool) -> None:
    await pool.put(SESSION, "whole.bin", bytes(100_000))
    await inject(pool, "truncate:next=1,on=content")
    with pytest.raises(httpx.RemoteProtocolError):
        await pool.http.get(f"/files/whole.bin/content?api-version=2025-10-02-preview&identifier={SESSION}")


async def test_a_call_can_hang(pool: RunningPool) -> None:
    await inject(pool, "hang:next=1")
    with pytest.raises(httpx.ReadTimeout):
        await pool.http.get(f"/files?api-version=2025-10-02-preview&identifier={SESSION}", timeout=0.3)
    assert await statuses(pool, 1) == [200]


async def test_a_kernel_can_be_killed_in_mid_run(pool: RunningPool) -> None:
    await pool.run(SESSION, "x = 1")
    await inject(pool, "kill-kernel:seconds=0.1,next=1,on=executions")
    body = await pool.run(SESSION, "import time; time.sleep(30)")
    assert (body["status"], body["result"]["stderr"]) == ("Failed", "Kernel restarted")
    assert await pool.output(SESSION, "print('x' in dir())") == "False\n"


async def test_a_session_can_be_replaced_silently(pool: RunningPool) -> None:
    await pool.put(SESSION, "a.txt", b"x")
    await inject(pool, "replace-session:next=1,on=files")
    assert (await pool.call("GET", "/files", SESSION)).json() == {"value": []}


async def test_a_file_can_be_lost(pool: RunningPool) -> None:
    await pool.put(SESSION, "a.txt", b"x")
    await pool.put(SESSION, "b.txt", b"x")
    await inject(pool, "lose-file:next=1,on=content")
    assert (await pool.call("GET", "/files/a.txt/content", SESSION)).status_code == 404
    assert (await pool.call("GET", "/files/b.txt/content", SESSION)).status_code == 200


async def test_a_session_can_start_slowly_and_the_pool_can_shrink(pool: RunningPool) -> None:
    await pool.call("GET", "/files", SESSION)
    await inject(pool, "slow-start:seconds=0.3,next=1", "capacity:sessions=2")
    started = time.monotonic()
    second = await pool.call("GET", "/files", "faulty-second")
    assert (second.status_code, time.monotonic() - started >= 0.3) == (200, True)
    assert (await pool.call("GET", "/files", "faulty-third")).status_code == 429
    await inject(pool)
    assert (await pool.call("GET", "/files", "faulty-third")).status_code == 200
    await asyncio.gather(*(pool.call("DELETE", "/session", f"faulty-{name}") for name in ("second", "third")))


async def test_faults_can_be_given_at_start_and_admin_is_off_by_default() -> None:
    async with running("--fault", "status:code=401,next=1", "--spares", "0") as plain:
        assert (await plain.http.get("/files")).status_code == 401
        assert (await plain.http.get("/.admin/faults")).status_code == 403


@pytest.mark.parametrize(
    "body", [[], {"faults": ["none-such"]}, {"faults": ["drop:rate=x"]}, {"faults": 3}, {"faults": ["drop:rate=2"]}]
)
async def test_a_fault_that_makes_no_sense_is_refused(pool: RunningPool, body: object) -> None:
    answer = await pool.http.put("/.admin/faults", json=body)
    assert answer.status_code == 400


@pytest.mark.parametrize("kind", list(FaultKind))
async def test_a_fault_is_written_as_it_is_read(kind: FaultKind) -> None:
    fault = Fault(kind, rate=0.5, next=3, on="files", seconds=1.5)
    assert Fault.parse(str(fault)) == fault
    assert FaultPlan([fault]).capacity(5) == (1 if kind is FaultKind.CAPACITY else 5)
