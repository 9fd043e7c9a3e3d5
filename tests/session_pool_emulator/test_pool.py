"""Sessions come and go: allocation, capacity, expiry, the end."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from pathlib import Path

import pytest

from session_pool_emulator.inside.supervisor import descendants
from tests.session_pool_emulator.running import RunningPool, running, start, until


async def test_an_unknown_identifier_gets_a_session_and_keeps_it(identifier: str) -> None:
    async with running("--max-sessions", "1", "--spares", "0") as pool:
        body = {"code": "1", "timeoutInSeconds": 10}
        first = await pool.call("POST", "/executions", identifier, json=body)
        second = await pool.call("POST", "/executions", identifier, json=body)
    assert first.headers["x-ms-new-allocation"] == "true"
    assert second.headers["x-ms-new-allocation"] == "false"
    assert first.headers["x-ms-session-guid"] == second.headers["x-ms-session-guid"]


async def test_there_are_never_more_sessions_than_allowed_and_a_deleted_one_makes_room() -> None:
    async with running("--max-sessions", "2", "--spares", "1") as pool:
        answers = await asyncio.gather(*(pool.call("GET", "/files", f"session-{n}") for n in range(5)))
        assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429, 429]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert "Error happened when allocating pod for identifier session-" in refused.text
        alive = next(n for n in range(5) if answers[n].status_code == 200)
        assert (await pool.call("DELETE", "/session", f"session-{alive}")).status_code == 204
        assert (await pool.call("GET", "/files", "session-new")).status_code == 200
        counts = [event["alive"] for event in pool.events() if "alive" in event]
        assert max(counts) == 2
        assert not any(f"session-{n}" in pool.log.read_text() for n in range(5))


async def test_an_idle_session_ends_and_its_identifier_silently_gets_an_empty_one() -> None:
    async with running("--max-sessions", "1", "--cooldown", "0.5") as pool:
        await pool.put("session-1", "a.txt", b"x")
        await until(lambda: pool.events("expired"))
        assert (await pool.call("GET", "/files", "session-1")).json() == {"value": []}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_nothing_is_left_when_the_server_ends(tmp_path: Path, number: signal.Signals) -> None:
    pool = await start("--spares", "1", log=tmp_path / "log")
    await pool.run("session-1", "import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)")
    children = descendants(pool.process.pid)
    assert len(children) > 3
    pool.process.send_signal(number)
    assert await pool.process.wait() == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    await pool.http.aclose()
    await until(lambda: not any(map(_alive, children)))
    assert number == signal.SIGKILL or not _folders(pool)


def _folders(pool: RunningPool) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"session-pool-{pool.process.pid}-*"))


def _alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
