"""The server around the pool: tokens, TLS, other answers of a full pool, the status page, options."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from devstack.certificate import Certificate
from tests.session_pool_emulator.running import REPOSITORY, RunningPool, running

pytestmark = pytest.mark.asyncio(loop_scope="session")
QUERY = "api-version=2025-10-02-preview&identifier=server-test"


def token(**claims: Any) -> str:
    """A token as Entra ID makes them, but for the signature."""
    parts = [{"alg": "none"}, {"aud": "https://dynamicsessions.io", "exp": time.time() + 600} | claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "signature"])


async def test_a_token_for_the_right_audience_is_asked_for() -> None:
    async with running("--require-token", "--spares", "0") as pool:
        wrong = ["", "Bearer", "Bearer x", "Bearer x.y.z", "Basic " + token(), f"Bearer {token(exp=1)}"]
        wrong += [f"Bearer {token(aud='https://management.azure.com')}", f"Bearer {token(exp='soon')}"]
        for header in wrong:
            answer = await pool.http.get(f"/files?{QUERY}", headers={"authorization": header})
            assert (answer.status_code, answer.content) == (401, b""), header
        for audience in ("https://dynamicsessions.io", "https://dynamicsessions.io/"):
            headers = {"authorization": f"Bearer {token(aud=audience)}"}
            assert (await pool.http.get(f"/files?{QUERY}", headers=headers)).status_code == 200
        assert (await pool.http.get("/health")).status_code == 200


async def test_all_tokens_of_before_can_expire_at_once() -> None:
    async with running("--require-token", "--spares", "0", "--admin") as pool:
        headers = [{"authorization": f"Bearer {token(iat=moment)}"} for moment in (1_000, 2_000)]
        headers.append({"authorization": f"Bearer {token()}"})

        async def statuses() -> list[int]:
            return [(await pool.http.get(f"/files?{QUERY}", headers=each)).status_code for each in headers]

        assert await statuses() == [200, 200, 200]
        await pool.http.put("/.admin/faults", json={"faults": ["expire-tokens:before=1500.5"]})
        assert await statuses() == [401, 200, 401]
        assert [event["fault"] for event in pool.events("fault")] == ["expire-tokens"] * 2
        await pool.http.delete("/.admin/faults")
        assert await statuses() == [200, 200, 200]


async def test_https_with_a_certificate_that_is_there_already(tmp_path: Path) -> None:
    """The pool that is started again is the one that its clients trust."""
    made = Certificate.made(tmp_path, "kept")
    async with running("--tls", str(made.file), "--tls-key", str(made.key), "--spares", "0") as pool:
        context = ssl.create_default_context(cafile=made.file)
        async with httpx.AsyncClient(verify=context, trust_env=False, timeout=30) as client:
            assert (await client.get(f"{pool.address}/files?{QUERY}")).json() == {"value": []}


async def test_https_with_a_certificate_of_its_own(tmp_path: Path) -> None:
    certificate = tmp_path / "pool.pem"
    async with running("--tls", str(certificate), "--spares", "0") as pool:
        assert pool.address.startswith("https://")
        context = ssl.create_default_context(cafile=certificate)
        async with httpx.AsyncClient(verify=context, trust_env=False, timeout=30) as client:
            assert (await client.get(f"{pool.address}/files?{QUERY}")).json() == {"value": []}


@pytest.mark.parametrize(
    ("form", "status", "text"),
    [
        ("allocation-500", 500, "Error happened when allocating pod for identifier second in pool here"),
        ("not-found", 404, "Error happened when allocating pod for identifier second in pool here"),
        ("sessions-count", 429, "The request sessions count is '1'. There are already '1' active sessions and "),
    ],
)
async def test_a_full_pool_can_answer_in_the_other_recorded_ways(form: str, status: int, text: str) -> None:
    async with running("--capacity-answer", form, "--max-sessions", "1", "--spares", "0", "--name", "here") as pool:
        await pool.call("GET", "/files", "first")
        answer = await pool.http.get("/files?api-version=2025-10-02-preview&identifier=second")
        assert answer.status_code == status
        assert text in answer.text
        assert ("error" in answer.json()) == (form != "sessions-count")


async def test_the_pool_can_be_looked_at_and_shows_no_identifier(shared_pool: RunningPool) -> None:
    await shared_pool.run("looked-at-session", "1")
    status = (await shared_pool.http.get("/")).json()
    page = await shared_pool.http.get("/", headers={"accept": "text/html"})
    await shared_pool.call("DELETE", "/session", "looked-at-session")
    assert status["alive"] == len(status["sessions"]) >= 1
    row = status["sessions"][-1]
    assert (row["executions"], row["busy"]) == (1, 0)
    assert 20 < row["memoryMiB"] < 500
    assert row["session"] in page.text
    assert "looked-at-session" not in page.text + json.dumps(status)


async def test_a_file_over_the_limit_is_refused_and_leaves_nothing() -> None:
    async with running("--max-upload", "1", "--spares", "0") as pool:
        assert (await pool.put("server-test", "fits.bin", bytes(1 << 20))).status_code == 200
        answer = await pool.put("server-test", "big.bin", bytes((1 << 20) + 1))
        assert answer.status_code == 413
        names = [entry["name"] for entry in (await pool.call("GET", "/files", "server-test")).json()["value"]]
        assert names == ["fits.bin"]
        assert await pool.output("server-test", "import os; print(os.listdir('/mnt/data'))") == "['fits.bin']\n"


async def test_an_upload_that_breaks_off_leaves_nothing() -> None:
    async with running("--spares", "0") as pool:
        await pool.call("GET", "/files", "server-test")
        host, port = pool.address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"POST /files?{QUERY} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n"
            "content-type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
            'content-disposition: form-data; name="file"; filename="half.txt"\r\n\r\nhalf'.encode()
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert await reader.read() == b""
        assert (await pool.call("GET", "/files", "server-test")).json() == {"value": []}
        found = await pool.output("server-test", "import os; print(os.listdir('/mnt/data'))")
        assert found == "[]\n"


async def test_a_call_behind_one_that_times_out_is_aborted() -> None:
    async with running("--max-run", "1", "--spares", "0") as pool:
        await pool.run("server-test", "1")
        bodies = await asyncio.gather(*(pool.run("server-test", "import time; time.sleep(60)") for _ in range(2)))
        reasons = sorted(body["result"]["stderr"].splitlines()[-1] for body in bodies)
        assert reasons == ["Execution aborted", "Request timed out waiting for code execution to complete"]


async def test_code_that_does_not_heed_an_interrupt_loses_the_kernel() -> None:
    async with running("--max-run", "0.5", "--spares", "0") as pool:
        code = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nx = 1\nwhile True: time.sleep(1)"
        body = await pool.run("server-test", code)
        assert body["result"]["stderr"].endswith("Request timed out waiting for code execution to complete")
        assert await pool.output("server-test", "print('x' in dir())") == "False\n"
        assert [event["cause"] for event in pool.events("kernel-restarted")] == ["SIGKILL"]


async def test_a_plain_process_warns_and_gives_each_session_its_own_data_directory(tmp_path: Path) -> None:
    async with running("--sandbox", "process", "--spares", "0", stderr=tmp_path / "err") as pool:
        await pool.put("plain-one", "a.txt", b"one")
        assert await pool.output("plain-one", "print(open('/mnt/data/a.txt').read())") == "one\n"
        assert await pool.output("plain-two", "import os; print(os.listdir('/mnt/data'))") == "[]\n"
        await pool.run("plain-one", "import subprocess; subprocess.Popen(['sleep', '996'], start_new_session=True)")
        assert (await pool.call("DELETE", "/session", "plain-one")).status_code == 204
    warning = (tmp_path / "err").read_text()
    assert warning.startswith("warning: sessions run as plain processes")
    assert len(warning.splitlines()) == 1


@pytest.mark.parametrize("options", [["--fault", "nonsense"], ["--sandbox", "nonsense"], ["--port", "-1"]])
async def test_a_wrong_option_is_refused_in_words(options: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "session_pool_emulator", *options, cwd=REPOSITORY, stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 2
    assert b"Traceback" not in err
    assert options[0].encode() in err


async def test_a_port_that_is_taken_is_said_in_words(shared_pool: RunningPool) -> None:
    port = shared_pool.address.rpartition(":")[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "session_pool_emulator", "--port", port, cwd=REPOSITORY, stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 1
    assert b"Address already in use" in err
    assert b"Traceback" not in err
