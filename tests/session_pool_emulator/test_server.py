"""Server: tokens, TLS, responses of a full pool, status page, limits and options."""

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
from tests.session_pool_emulator.emulator import REPOSITORY, Emulator, run_emulator

pytestmark = pytest.mark.asyncio(loop_scope="session")
QUERY = "api-version=2025-10-02-preview&identifier=server-test"


def token(**claims: Any) -> str:
    """Return a token like those of Entra ID, with an invalid signature."""
    parts = [{"alg": "none"}, {"aud": "https://dynamicsessions.io", "exp": time.time() + 600} | claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "signature"])


async def test_a_token_for_the_audience_is_required() -> None:
    async with run_emulator("--require-token", "--spares", "0") as pool:
        invalid = ["", "Bearer", "Bearer x", "Bearer x.y.z", "Basic " + token(), f"Bearer {token(exp=1)}"]
        invalid += [f"Bearer {token(aud='https://management.azure.com')}", f"Bearer {token(exp='soon')}"]
        for header in invalid:
            response = await pool.http.get(f"/files?{QUERY}", headers={"authorization": header})
            assert (response.status_code, response.content) == (401, b""), header
        for audience in ("https://dynamicsessions.io", "https://dynamicsessions.io/"):
            headers = {"authorization": f"Bearer {token(aud=audience)}"}
            assert (await pool.http.get(f"/files?{QUERY}", headers=headers)).status_code == 200
        assert (await pool.http.get("/health")).status_code == 200


async def test_earlier_tokens_can_be_expired_by_a_fault() -> None:
    async with run_emulator("--require-token", "--spares", "0", "--admin") as pool:
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


async def test_https_with_an_existing_certificate(tmp_path: Path) -> None:
    """A restarted emulator keeps the certificate that its clients trust."""
    certificate = Certificate.create(tmp_path, "kept")
    async with run_emulator("--tls", str(certificate.file), "--tls-key", str(certificate.key), "--spares", "0") as pool:
        context = ssl.create_default_context(cafile=certificate.file)
        async with httpx.AsyncClient(verify=context, trust_env=False, timeout=30) as client:
            assert (await client.get(f"{pool.url}/files?{QUERY}")).json() == {"value": []}


async def test_https_with_a_new_certificate(tmp_path: Path) -> None:
    certificate = tmp_path / "pool.pem"
    async with run_emulator("--tls", str(certificate), "--spares", "0") as pool:
        assert pool.url.startswith("https://")
        context = ssl.create_default_context(cafile=certificate)
        async with httpx.AsyncClient(verify=context, trust_env=False, timeout=30) as client:
            assert (await client.get(f"{pool.url}/files?{QUERY}")).json() == {"value": []}


@pytest.mark.parametrize(
    ("form", "status", "text"),
    [
        ("allocation-500", 500, "Error happened when allocating pod for identifier second in pool here"),
        ("not-found", 404, "Error happened when allocating pod for identifier second in pool here"),
        ("sessions-count", 429, "The request sessions count is '1'. There are already '1' active sessions and "),
    ],
)
async def test_a_full_pool_can_use_the_other_recorded_responses(form: str, status: int, text: str) -> None:
    async with run_emulator(
        "--capacity-answer", form, "--max-sessions", "1", "--spares", "0", "--name", "here"
    ) as pool:
        await pool.call("GET", "/files", "first")
        response = await pool.http.get("/files?api-version=2025-10-02-preview&identifier=second")
        assert response.status_code == status
        assert text in response.text
        assert ("error" in response.json()) == (form != "sessions-count")


async def test_the_status_page_shows_no_identifier(shared_pool: Emulator) -> None:
    await shared_pool.execute("status-session", "1")
    status = (await shared_pool.http.get("/")).json()
    page = await shared_pool.http.get("/", headers={"accept": "text/html"})
    await shared_pool.call("DELETE", "/session", "status-session")
    assert status["alive"] == len(status["sessions"]) >= 1
    row = status["sessions"][-1]
    assert (row["executions"], row["busy"]) == (1, 0)
    assert 20 < row["memoryMiB"] < 500
    assert row["session"] in page.text
    assert "status-session" not in page.text + json.dumps(status)


async def test_a_file_over_the_limit_is_rejected_and_not_stored() -> None:
    async with run_emulator("--max-upload", "1", "--spares", "0") as pool:
        assert (await pool.upload("server-test", "fits.bin", bytes(1 << 20))).status_code == 200
        response = await pool.upload("server-test", "big.bin", bytes((1 << 20) + 1))
        assert response.status_code == 413
        names = [entry["name"] for entry in (await pool.call("GET", "/files", "server-test")).json()["value"]]
        assert names == ["fits.bin"]
        assert await pool.output("server-test", "import os; print(os.listdir('/mnt/data'))") == "['fits.bin']\n"


async def test_an_incomplete_upload_is_not_stored() -> None:
    async with run_emulator("--spares", "0") as pool:
        await pool.call("GET", "/files", "server-test")
        host, port = pool.url.removeprefix("http://").split(":")
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


async def test_an_execution_queued_behind_a_timeout_is_aborted() -> None:
    async with run_emulator("--max-run", "1", "--spares", "0") as pool:
        await pool.execute("server-test", "1")
        bodies = await asyncio.gather(*(pool.execute("server-test", "import time; time.sleep(60)") for _ in range(2)))
        reasons = sorted(body["result"]["stderr"].splitlines()[-1] for body in bodies)
        assert reasons == ["Execution aborted", "Request timed out waiting for code execution to complete"]


async def test_code_that_ignores_the_interrupt_loses_the_kernel() -> None:
    async with run_emulator("--max-run", "0.5", "--spares", "0") as pool:
        code = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nx = 1\nwhile True: time.sleep(1)"
        body = await pool.execute("server-test", code)
        assert body["result"]["stderr"].endswith("Request timed out waiting for code execution to complete")
        assert await pool.output("server-test", "print('x' in dir())") == "False\n"
        assert [event["cause"] for event in pool.events("kernel-restarted")] == ["SIGKILL"]


async def test_plain_processes_warn_and_have_separate_data_folders(tmp_path: Path) -> None:
    async with run_emulator("--sandbox", "process", "--spares", "0", stderr=tmp_path / "err") as pool:
        await pool.upload("plain-one", "a.txt", b"one")
        assert await pool.output("plain-one", "print(open('/mnt/data/a.txt').read())") == "one\n"
        assert await pool.output("plain-two", "import os; print(os.listdir('/mnt/data'))") == "[]\n"
        await pool.execute("plain-one", "import subprocess; subprocess.Popen(['sleep', '996'], start_new_session=True)")
        assert (await pool.call("DELETE", "/session", "plain-one")).status_code == 204
    warning = (tmp_path / "err").read_text()
    assert warning.startswith("warning: sessions run as plain processes")
    assert len(warning.splitlines()) == 1


@pytest.mark.parametrize("options", [["--fault", "nonsense"], ["--sandbox", "nonsense"], ["--port", "-1"]])
async def test_an_invalid_option_is_a_usage_error(options: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "session_pool_emulator", *options, cwd=REPOSITORY, stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 2
    assert b"Traceback" not in err
    assert options[0].encode() in err


async def test_a_port_in_use_is_reported_without_a_traceback(shared_pool: Emulator) -> None:
    port = shared_pool.url.rpartition(":")[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "session_pool_emulator", "--port", port, cwd=REPOSITORY, stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 1
    assert b"Address already in use" in err
    assert b"Traceback" not in err
