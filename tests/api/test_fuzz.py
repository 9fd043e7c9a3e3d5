"""Send requests generated from the OpenAPI document to a real host, and check every response."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from devstack import subprocesses
from pipeline.runs import Selection
from pipeline.storage.keys import JobKey
from tests.images import image_bytes
from tests.stack import Stack
from tests.waiting import eventually

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
SEED = "20261124"
HOST = [sys.executable, "-m", "devstack", "host"]
# Random ids match no job or run. These operations get an existing id, so that the code behind it is tested too.
KNOWN = """
[[operations]]
include-name = "{operation}"
parameters = {{ "path.id" = "{id}" }}
"""
# The boundary values of all parameters of all transforms would take 8,000 requests: test a sample.
CHOICE = """
[[operations]]
include-name = "POST /jobs"
generation = { max-examples = 12 }
phases.coverage.enabled = false
"""
# A pause would refuse all later requests.
NEVER = """
[[operations]]
include-name = "POST /pause"
enabled = false
"""
OF_A_JOB = ("GET /jobs/{id}/renditions/{name}", "GET /jobs/{id}/source")
OF_A_RUN = ("GET /runs/{id}", "POST /runs/{id}/cancel", "POST /runs/{id}/resume")


@pytest.mark.stack
@pytest.mark.timeout(300)
async def test_generated_requests_get_only_documented_responses(stack: Stack, tmp_path: Path) -> None:
    await stack.upload("photos/a.jpg", image_bytes(64, 48))
    key = JobKey.of("web", stack.services.settings.input_container, "photos/a.jpg")
    configuration = tmp_path / "schemathesis.toml"
    run = await stack.services.runs.start(Selection(prefix="photos/"), expected_count=1)
    known = {**dict.fromkeys(OF_A_JOB, key.id), **dict.fromkeys(OF_A_RUN, run.id)}
    configuration.write_text(CHOICE + NEVER + "".join(KNOWN.format(operation=each, id=known[each]) for each in known))
    environ = {**stack.environ, "PIPELINE_ADHOC_RECIPES": "on"}
    lines: list[str] = []
    async with subprocesses.running("host", HOST, env=environ, output=lines.append) as host:
        url = (await host.wait_for_line(r"function host ready: (\S+)", timeout=60))[1]
        command = ["--config-file", str(configuration), "run", f"{url}/api/openapi.json", "--checks", CHECKS]
        command += ["--max-examples", "3", "--seed", SEED, "--phases", "examples,coverage,fuzzing", "--no-color"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        report, _ = await process.communicate()
        assert process.returncode == 0, report.decode()

        async def has_ended() -> bool:
            return (await stack.services.jobs.get(key)).state in ("done", "dismissed")

        # The example of the document is this job. Another request may have cancelled it while it was queued: it ends
        # either way, and the host must still execute jobs.
        await eventually(has_ended, timeout=60)
        before = await stack.services.jobs.get(key)
        await stack.services.jobs.retry(key)

        async def is_done_again() -> bool:
            entry = await stack.services.jobs.get(key)
            return entry.state == "done" and entry.generation > before.generation

        await eventually(is_done_again, timeout=60)
    assert not [line for line in lines if "Traceback" in line or "a bug" in line]
