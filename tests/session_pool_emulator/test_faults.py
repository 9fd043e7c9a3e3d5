"""Fault injection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from session_pool_emulator.settings import Fault, FaultInjector, FaultKind
from tests.session_pool_emulator.emulator import Emulator, run_emulator

pytestmark = pytest.mark.asyncio(loop_scope="module")
SESSION = "faulty-session"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Emulator]:
    """Run an emulator with the admin route."""
    async with run_emulator("--admin", "--max-sessions", "3", "--spares", "2") as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def pool(server: Emulator) -> AsyncIterator[Emulator]:
    """Return the emulator without active faults, and deactivate faults after the test."""
    await server.http.delete("/.admin/faults")
    yield server
    await server.http.delete("/.admin/faults")


async def inject(pool: Emulator, *faults: str, seed: int = 0) -> None:
    """Activate `faults` instead of all others."""
    response = await pool.http.put("/.admin/faults", json={"faults": faults, "seed": seed})
    assert response.status_code == 200, response.text


async def statuses(pool: Emulator, count: int) -> list[int]:
    """Send `count` requests one after another and return their statuses."""
    return [
        (await pool.http.get(f"/files?api-version=2025-10-02-preview&identifier={SESSION}")).status_code
        for _ in range(count)
    ]


async def test_next_limits_the_number_of_hits(pool: Emulator) -> None:
    await inject(pool, "status:code=429,next=2,retry_after=7", "status:code=503,next=1,method=post,on=executions")
    response = await pool.http.get(f"/files?api-version=2025-10-02-preview&identifier={SESSION}")
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert await statuses(pool, 3) == [429, 200, 200]
    response = await pool.http.post(
        f"/executions?api-version=2025-10-02-preview&identifier={SESSION}", json={"code": "1"}
    )
    assert response.status_code == 503
    assert (await pool.http.get("/.admin/faults")).json() == {"faults": []}


async def test_the_same_seed_gives_the_same_hits(pool: Emulator) -> None:
    sequences = []
    for seed in (1, 1, 2):
        await inject(pool, "status:code=500,rate=0.5", seed=seed)
        sequences.append(await statuses(pool, 30))
    assert sequences[0] == sequences[1] != sequences[2]
    assert {200, 500} == set(sequences[0])


async def test_latency_is_per_request_and_per_megabyte(pool: Emulator) -> None:
    await inject(pool, "latency:seconds=0.3")
    started = time.monotonic()
    await statuses(pool, 1)
    assert time.monotonic() - started >= 0.3
    await inject(pool, "latency:per_mb=0.2,on=files,method=POST")
    started = time.monotonic()
    await pool.upload(SESSION, "two.bin", bytes(2_000_000))
    assert time.monotonic() - started >= 0.4


async def test_drop_closes_the_connection_without_a_response(pool: Emulator) -> None:
    await inject(pool, "drop:next=1")
    with pytest.raises(httpx.RemoteProtocolError):
        await statuses(pool, 1)
    assert await statuses(pool, 1) == [200]


async def test_truncate_closes_the_connection_in_the_body(pool: Emulator) -> None:
    await pool.upload(SESSION, "whole.bin", bytes(100_000))
    await inject(pool, "truncate:next=1,on=content")
    with pytest.raises(httpx.RemoteProtocolError):
        await pool.http.get(f"/files/whole.bin/content?api-version=2025-10-02-preview&identifier={SESSION}")


async def test_hang_never_responds(pool: Emulator) -> None:
    await inject(pool, "hang:next=1")
    with pytest.raises(httpx.ReadTimeout):
        await pool.http.get(f"/files?api-version=2025-10-02-preview&identifier={SESSION}", timeout=0.3)
    assert await statuses(pool, 1) == [200]


async def test_kill_kernel_fails_the_execution(pool: Emulator) -> None:
    await pool.execute(SESSION, "x = 1")
    await inject(pool, "kill-kernel:seconds=0.1,next=1,on=executions")
    body = await pool.execute(SESSION, "import time; time.sleep(30)")
    assert (body["status"], body["result"]["stderr"]) == ("Failed", "Kernel restarted")
    assert await pool.output(SESSION, "print('x' in dir())") == "False\n"


async def test_replace_session_loses_all_files_silently(pool: Emulator) -> None:
    await pool.upload(SESSION, "a.txt", b"x")
    await inject(pool, "replace-session:next=1,on=files")
    assert (await pool.call("GET", "/files", SESSION)).json() == {"value": []}


async def test_lose_file_deletes_the_file_in_the_path(pool: Emulator) -> None:
    await pool.upload(SESSION, "a.txt", b"x")
    await pool.upload(SESSION, "b.txt", b"x")
    await inject(pool, "lose-file:next=1,on=content")
    assert (await pool.call("GET", "/files/a.txt/content", SESSION)).status_code == 404
    assert (await pool.call("GET", "/files/b.txt/content", SESSION)).status_code == 200


async def test_slow_start_delays_and_capacity_limits_sessions(pool: Emulator) -> None:
    await pool.call("GET", "/files", SESSION)
    await inject(pool, "slow-start:seconds=0.3,next=1", "capacity:sessions=2")
    started = time.monotonic()
    second = await pool.call("GET", "/files", "faulty-second")
    assert (second.status_code, time.monotonic() - started >= 0.3) == (200, True)
    assert (await pool.call("GET", "/files", "faulty-third")).status_code == 429
    await inject(pool)
    assert (await pool.call("GET", "/files", "faulty-third")).status_code == 200
    await asyncio.gather(*(pool.call("DELETE", "/session", f"faulty-{name}") for name in ("second", "third")))


async def test_faults_are_an_option_and_admin_is_off_by_default() -> None:
    async with run_emulator("--fault", "status:code=401,next=1", "--spares", "0") as pool:
        assert (await pool.http.get("/files")).status_code == 401
        assert (await pool.http.get("/.admin/faults")).status_code == 403


@pytest.mark.parametrize(
    "body", [[], {"faults": ["none-such"]}, {"faults": ["drop:rate=x"]}, {"faults": 3}, {"faults": ["drop:rate=2"]}]
)
async def test_an_invalid_fault_is_rejected(pool: Emulator, body: object) -> None:
    response = await pool.http.put("/.admin/faults", json=body)
    assert response.status_code == 400


@pytest.mark.parametrize("kind", list(FaultKind))
async def test_a_fault_is_parsed_as_it_is_formatted(kind: FaultKind) -> None:
    fault = Fault(kind, rate=0.5, next=3, on="files", seconds=1.5)
    assert Fault.parse(str(fault)) == fault
    assert FaultInjector([fault]).limit_capacity(5) == (1 if kind is FaultKind.CAPACITY else 5)
