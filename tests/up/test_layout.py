"""Layout of the function hosts as on Azure: hosts of its own for each group of functions."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path

import httpx
import psutil
import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.queue.aio import QueueClient

from devstack.errors import DevstackError
from devstack.layout import check_scale, groups_of, host_group
from tests.up.test_up import blob_client, settings, up
from tests.waiting import eventually


def listed(name: str, trigger_type: str) -> dict[str, object]:
    """Return a function as `/admin/functions` lists it."""
    return {"name": name, "config": {"bindings": [{"type": trigger_type}]}}


def test_groups_begin_with_http() -> None:
    functions = [listed("b", "blobTrigger"), listed("a", "queueTrigger"), listed("z", "httpTrigger")]
    assert groups_of([*functions, listed("y", "httpTrigger")]) == ["http", "a", "blob"]


def test_hosts_of_a_group_can_replace_each_other() -> None:
    assert host_group("host-run_waiting-2") == host_group("host-run_waiting-3") != host_group("host-http-1")
    assert host_group("host-1") == host_group("host-2")


def test_a_scale_of_an_unknown_group_is_refused() -> None:
    check_scale({"http": 2}, ["http", "blob"])
    with pytest.raises(DevstackError, match="run: there is no such group; the groups are http, blob"):
        check_scale({"run": 2}, ["http", "blob"])


APP = """
import os
from pathlib import Path

import azure.functions as func
import azurefunctions.extensions.bindings.blob as blob

app = func.FunctionApp()


def report(name):
    folder = Path(os.environ["LAYOUT_REPORTS"])
    (folder / f"{name}.part").write_text(str(os.getpid()))
    (folder / f"{name}.part").rename(folder / name)


@app.blob_trigger(arg_name="b", path="input/{name}", connection="IMAGES", source=func.BlobSource.EVENT_GRID)
async def uploaded(b: blob.BlobClient) -> None:
    report("uploaded")


@app.queue_trigger(arg_name="m", queue_name="first", connection="IMAGES")
async def first(m: func.QueueMessage) -> None:
    report("first")


@app.queue_trigger(arg_name="m", queue_name="second", connection="IMAGES")
async def second(m: func.QueueMessage) -> None:
    report("second")


@app.timer_trigger(arg_name="t", schedule="0 0 3 * * *")
async def nightly(t: func.TimerRequest) -> None:
    report("nightly")


@app.route("show", auth_level=func.AuthLevel.ANONYMOUS)
async def show(req: func.HttpRequest) -> str:
    return str(os.getpid())
"""


async def test_each_group_of_functions_has_its_own_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports, app = tmp_path / "reports", tmp_path / "app"
    reports.mkdir()
    app.mkdir()
    (app / "function_app.py").write_text(APP)
    monkeypatch.setenv("LAYOUT_REPORTS", str(reports))
    options = ("--layout", "azure", "--scale", "second=2", "--events", "--max-sessions", "1", "--app", str(app))
    async with up(tmp_path, *options) as running:
        groups = sorted(filter(None, map(group, running.descendants)))
        assert groups == ["blob", "first", "http", "nightly", "second", "second"]
        variables = settings(running.env_file)
        async with blob_client(variables) as blobs:
            await blobs.create_container("input")
            await blobs.get_blob_client("input", "a.jpg").upload_blob(b"a")
        for name in ("first", "second"):
            async with QueueClient.from_connection_string(variables["IMAGES"], name) as queue:
                with contextlib.suppress(ResourceExistsError):
                    await queue.create_queue()
                await queue.send_message(base64.b64encode(b"m").decode())
        await eventually(lambda: {"uploaded", "first", "second"} <= {each.name for each in reports.iterdir()}, 60)
        (url,) = [line.split("functions ")[1].split(",")[0] for line in running.log if "stack ready: " in line]
        async with httpx.AsyncClient() as client:
            answered = (await client.get(f"{url}/api/show")).text
        pids = {answered, *((reports / name).read_text() for name in ("uploaded", "first", "second"))}
        assert len(pids) == 4, "each in a process of its own"


def group(process: psutil.Process) -> str:
    """Return the group of functions that a host runs; empty for other processes."""
    words = process.cmdline()
    return words[words.index("--group") + 1] if "--group" in words else ""
