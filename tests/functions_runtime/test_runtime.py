"""The function app in Microsoft's own Python runtime: it is indexed, and every trigger works."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.images import image_bytes
from tests.stack import Stack

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-runtime" / "bin" / "python"

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="no Python 3.13 or later (scripts/setup-functions-runtime installs the runtime)"
)


def in_runtime(environ: dict[str, str], *calls: dict[str, Any]) -> list[Any]:
    """Run the harness; return the index and the results of the calls."""
    result = subprocess.run(
        [PYTHON, ROOT / "tests" / "functions_runtime" / "harness.py", ROOT],
        input=json.dumps(calls),
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environ},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    results: list[Any] = json.loads(result.stdout.splitlines()[-1])
    return results


@pytest.fixture
def minimal() -> dict[str, str]:
    return {"PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1", "IMAGES": "UseDevelopmentStorage=true"}


def test_the_app_is_indexed_with_the_expected_bindings(minimal: dict[str, str]) -> None:
    (index,) = in_runtime(minimal)
    triggers = {
        name: next(one for one in bindings if one["type"].endswith("rigger")) for name, bindings in index.items()
    }
    kinds = {name: one["type"] for name, one in triggers.items()}
    assert {name: kind for name, kind in kinds.items() if kind != "httpTrigger"} == {
        "image_uploaded": "blobTrigger",
        "job_waiting": "queueTrigger",
        "run_waiting": "queueTrigger",
        "job_undeliverable": "queueTrigger",
        "run_undeliverable": "queueTrigger",
        "upload_undeliverable": "queueTrigger",
        "scheduled_run": "timerTrigger",
        "recover_lost_messages": "timerTrigger",
        "requeue_dead_lettered_events": "timerTrigger",
        "apply_retention": "timerTrigger",
    }
    assert {"submit_job", "show_job", "fetch_rendition", "show_openapi", "elsewhere"} < set(kinds)
    blob = triggers["image_uploaded"]
    assert (blob["path"], blob["connection"], blob["source"]) == ("input/{name}", "IMAGES", "EventGrid")
    assert blob["properties"] == {"SupportsDeferredBinding": True}, "the host must not send the bytes of the blob"
    queues = {name: one["queueName"] for name, one in triggers.items() if one["type"] == "queueTrigger"}
    assert queues == {
        "job_waiting": "jobs",
        "run_waiting": "runs",
        "job_undeliverable": "jobs-poison",
        "run_undeliverable": "runs-poison",
        "upload_undeliverable": "webjobs-blobtrigger-poison",
    }
    assert len(triggers["scheduled_run"]["schedule"].split()) == 6
    levels = {name: one["authLevel"].lower() for name, one in triggers.items() if one["type"] == "httpTrigger"}
    assert levels.pop("show_console") == "anonymous", "the console authenticates by itself"
    assert set(levels.values()) == {"function"}


def test_invalid_settings_are_rejected_by_name(minimal: dict[str, str]) -> None:
    (index,) = in_runtime({**minimal, "PIPELINE_EXECUTION_TIMEOUT": "9999"})
    assert "PIPELINE_EXECUTION_TIMEOUT" in index["error"]


async def test_every_trigger_works(stack: Stack) -> None:
    settings = stack.services.settings
    await stack.upload("photos/a.jpg", image_bytes())
    await stack.upload("photos/b.jpg", image_bytes(seed=90))
    message = json.dumps({"recipe": "web", "container": settings.input_container, "name": "photos/b.jpg"})
    body = json.dumps({"source": "photos/a.jpg", "recipe": "tutorial"})
    http = {"method": "POST", "url": "http://x/api/jobs", "headers": {"content-type": "application/json"}, "body": body}
    blob = {"Connection": "IMAGES", "ContainerName": settings.input_container, "BlobName": "photos/a.jpg"}
    show = {"method": "GET", "url": "http://x/api/jobs/nothing", "params": {"id": "nothing"}}
    other = {"method": "GET", "url": "http://x/api/nowhere", "params": {"path": "nowhere"}}
    index, dropped, waiting, timer, submitted, shown, elsewhere = in_runtime(
        stack.environ,
        {"function": "image_uploaded", "inputs": {"source": {"blob": blob}}},
        {"function": "job_waiting", "inputs": {"message": {"string": message}}},
        {"function": "scheduled_run", "inputs": {"timer": {"json": {"IsPastDue": False}}}},
        {"function": "submit_job", "inputs": {"req": {"http": http}}},
        {"function": "show_job", "inputs": {"req": {"http": show}}},
        {"function": "elsewhere", "inputs": {"req": {"http": other}}},
    )
    assert "error" not in index
    assert [one["error"] for one in (dropped, waiting, timer, submitted)] == [None] * 4
    states = {name: await stack.entry("web", f"photos/{name}.jpg") for name in ("a", "b")}
    assert {name: entry and entry.state for name, entry in states.items()} == {"a": "done", "b": "done"}
    document = json.loads(submitted["returned"]["body"])
    assert (submitted["returned"]["status"], document["state"]) in (("200", "done"), (200, "done"))
    for rejected, kind in ((shown, "unknown_job"), (elsewhere, "not_found")):
        problem = json.loads(rejected["returned"]["body"])
        assert (int(rejected["returned"]["status"]), problem["type"].rpartition(":")[2]) == (404, kind)
    assert await stack.waiting_messages() == 0, "the timer found no due jobs"
