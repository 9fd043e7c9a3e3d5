"""Fuzzing: generated requests, with responses validated against the emulator's OpenAPI description."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.session_pool_emulator.emulator import run_emulator

_CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
_CONFIGURATION = (
    '[parameters]\n"query.identifier" = "fuzzed-session"\n'  # each random identifier would allocate a session
)
_SEED = "20240202"


@pytest.mark.timeout(240)
async def test_generated_requests_get_documented_responses(tmp_path: Path) -> None:
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(_CONFIGURATION)
    async with run_emulator("--max-run", "2", "--spares", "1", stderr=tmp_path / "err") as pool:
        command = ["--config-file", str(configuration), "run", f"{pool.url}/openapi.json", "--checks", _CHECKS]
        command += ["--max-examples", "8", "--seed", _SEED, "--phases", "coverage,fuzzing", "--no-color"]
        for operation in (
            "DELETE /session",
            "POST /.management/stopSession",
        ):  # each request would restart a session; see test_contract.py
            command += ["--exclude-name", operation]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        report, _ = await process.communicate()
        statuses = {event["status"] for event in pool.events("call")}
    assert process.returncode == 0, report.decode()
    assert statuses <= {200, 204, 400, 401, 403, 404, 413}
    assert "Traceback" not in (tmp_path / "err").read_text()
