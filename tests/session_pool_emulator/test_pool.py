"""Pool: allocation, capacity, expiry and shutdown."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from pathlib import Path

import pytest

from session_pool_emulator.inside.supervisor import descendants
from tests.session_pool_emulator.emulator import Emulator, run_emulator, start_emulator, wait_until


async def test_an_unknown_identifier_allocates_a_session(identifier: str) -> None:
    async with run_emulator("--max-sessions", "1", "--spares", "0") as pool:
        body = {"code": "1", "timeoutInSeconds": 10}
        first = await pool.call("POST", "/executions", identifier, json=body)
        second = await pool.call("POST", "/executions", identifier, json=body)
    assert first.headers["x-ms-new-allocation"] == "true"
    assert second.headers["x-ms-new-allocation"] == "false"
    assert first.headers["x-ms-session-guid"] == second.headers["x-ms-session-guid"]


async def test_capacity_is_enforced_and_freed_by_a_delete() -> None:
    async with run_emulator("--max-sessions", "2", "--spares", "1") as pool:
        responses = await asyncio.gather(*(pool.call("GET", "/files", f"session-{n}") for n in range(5)))
        assert sorted(response.status_code for response in responses) == [200, 200, 429, 429, 429]
        refused = next(response for response in responses if response.status_code == 429)
        assert "Error happened when allocating pod for identifier session-" in refused.text
        alive = next(n for n in range(5) if responses[n].status_code == 200)
        assert (await pool.call("DELETE", "/session", f"session-{alive}")).status_code == 204
        assert (await pool.call("GET", "/files", "session-new")).status_code == 200
        counts = [event["alive"] for event in pool.events() if "alive" in event]
        assert max(counts) == 2
        assert not any(f"session-{n}" in pool.log.read_text() for n in range(5))


async def test_an_expired_session_is_silently_replaced() -> None:
    async with run_emulator("--max-sessions", "1", "--cooldown", "0.5") as pool:
        await pool.upload("session-1", "a.txt", b"x")
        await wait_until(lambda: pool.events("expired"))
        assert (await pool.call("GET", "/files", "session-1")).json() == {"value": []}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_no_process_or_folder_outlives_the_server(tmp_path: Path, number: signal.Signals) -> None:
    pool = await start_emulator("--spares", "1", log=tmp_path / "log")
    await pool.execute("session-1", "import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)")
    children = descendants(pool.process.pid)
    assert len(children) > 3
    pool.process.send_signal(number)
    assert await pool.process.wait() == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    await pool.http.aclose()
    await wait_until(lambda: not any(map(_alive, children)))
    assert number == signal.SIGKILL or not _folders(pool)


def _folders(pool: Emulator) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"session-pool-{pool.process.pid}-*"))


def _alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
