"""Whatever is asked, there is an answer: generated requests, made from the API's own description, to a real host."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from devstack import child
from pipeline.storage.keys import JobKey
from tests.images import picture
from tests.stack import Stack

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
SEED = "20261124"
HOST = [sys.executable, "-m", "devstack", "host"]
# Of random ids none is a job's: these operations get one that there is, so that what lies behind is asked too.
KNOWN = """
[[operations]]
include-name = "{operation}"
parameters = {{ "path.id" = "{job}" }}
"""
# The boundaries of every parameter of every transform would be eight thousand requests: a choice of them does.
CHOICE = """
[[operations]]
include-name = "POST /jobs"
generation = { max-examples = 40 }
phases.coverage.enabled = false
"""
OPERATIONS = ("GET /jobs/{id}/renditions/{name}", "GET /jobs/{id}/source")


@pytest.mark.timeout(240)
async def test_no_generated_request_gets_past_what_is_described(stack: Stack, tmp_path: Path) -> None:
    await stack.drop("photos/a.jpg", picture(64, 48))
    job = JobKey.of("web", stack.services.settings.input_container, "photos/a.jpg").id
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CHOICE + "".join(KNOWN.format(operation=each, job=job) for each in OPERATIONS))
    environ = {**stack.environ, "PIPELINE_ADHOC_RECIPES": "on"}
    lines: list[str] = []
    async with child.running("host", HOST, env=environ, output=lines.append) as host:
        address = (await host.line(r"function host ready: (\S+)", timeout=60))[1]
        command = ["--config-file", str(configuration), "run", f"{address}/api/openapi.json", "--checks", CHECKS]
        command += ["--max-examples", "8", "--seed", SEED, "--phases", "examples,coverage,fuzzing", "--no-color"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        report, _ = await process.communicate()
    assert process.returncode == 0, report.decode()
    assert not [line for line in lines if "Traceback" in line or "a bug" in line]
    entry = await stack.entry("web", "photos/a.jpg")
    assert entry is not None, "the example of the description was a job"
    assert entry.state == "done"
