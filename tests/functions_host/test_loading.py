"""Apps that cannot be served are refused at the start, with what to change."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from devstack.errors import HostError
from devstack.host import settings
from devstack.host.functions import load

HEAD = """
from __future__ import annotations
import typing
import azure.functions as func
from azurefunctions.extensions.bindings import blob
app = func.FunctionApp()
"""
TRIGGER = '@app.queue_trigger(arg_name="m", queue_name="q", connection="IMAGES")\n'
QUEUE = HEAD + TRIGGER
NOBODY = "http://127.0.0.1:9/a"
BLOB = HEAD + '@app.blob_trigger(arg_name="b", path="c/{name}", connection="IMAGES")\n'


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for an app; what loading it changes in this process is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return tmp_path


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("1/0", "does not load: ZeroDivisionError"),
        ("x = 1", "must hold one FunctionApp, not 0"),
        (HEAD + "other = func.FunctionApp()", "must hold one FunctionApp, not 2"),
        (QUEUE + "def f(m: func.QueueMessage, more=None): ...", "its parameters must be m"),
        (QUEUE + "def f(other: func.QueueMessage): ...", "its parameters must be m"),
        (QUEUE + "def f(m: func.HttpRequest): ...", "cannot hand over"),
        (BLOB + "def f(b: func.InputStream | None): ...", "cannot hand over"),
        (BLOB + "def f(b: blob.StorageStreamDownloader): ...", "cannot hand over"),
        (QUEUE + "def f(m: Missing): ...", "'Missing' is not defined"),
        (QUEUE + "def f(m): ...\n" + QUEUE.split("app = func.FunctionApp()\n")[1] + "def f(m): ...", "f"),
        (
            HEAD + '@app.queue_output("o", "q", "IMAGES")\n' + QUEUE.split("\n")[-2] + "\ndef f(m, o): ...",
            "one binding",
        ),
        (HEAD + '@app.route("x")\ndef f(req: str): ...', "cannot hand over"),
    ],
)
def test_an_app_that_the_platform_would_refuse_is_refused(app: Path, source: str, part: str) -> None:
    (app / "function_app.py").write_text(source)
    with pytest.raises(HostError) as refused:
        load(app)
    assert part in str(refused.value)


def test_a_folder_without_an_app_is_refused(app: Path) -> None:
    with pytest.raises(HostError, match=r"no function_app\.py"):
        load(app)


def test_local_settings_are_read_and_do_not_override_the_environment(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "SET", "before")
    (app / "local.settings.json").write_text('{"IsEncrypted": false, "Values": {"SET": "file", "UNSET_YET": "file"}}')
    settings.local_settings(app)
    assert (os.environ["SET"], os.environ["UNSET_YET"]) == ("before", "file")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "host.json is not JSON"),
        ("[]", "must hold a JSON object"),
        ('{"functionTimeout": "ten"}', "functionTimeout cannot be 'ten'"),
        ('{"extensions": {"queues": {"batchSize": 33}}}', "batchSize must be 1 to 32"),
        ('{"extensions": {"blobs": {"maxDegreeOfParallelism": 0}}}', "must be 1 or more"),
    ],
)
def test_a_wrong_host_json_is_refused(app: Path, text: str, part: str) -> None:
    (app / "host.json").write_text(text)
    with pytest.raises(HostError) as refused:
        settings.host_options(app)
    assert part in str(refused.value)


def test_host_json_is_read_as_the_platform_reads_it(app: Path) -> None:
    (app / "host.json").write_text(
        '{"functionTimeout": "1.00:10:00.5", "extensions": {"blobs": {"maxDegreeOfParallelism": 4},'
        ' "queues": {"batchSize": 3, "newBatchThreshold": 1, "visibilityTimeout": "00:00:30"}}}'
    )
    options = settings.host_options(app)
    assert options.function_timeout == 87000.5
    assert (options.blobs.batch_size, options.blobs.new_batch_threshold) == (3, 1)
    assert (options.queues.batch_size, options.queues.retry_delay, options.queues.max_dequeue_count) == (3, 30.0, 5)


def test_settings_in_binding_strings_are_resolved_or_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "input")
    assert settings.resolve("%WHERE%/{name}") == "input/{name}"
    with pytest.raises(HostError, match="set NOWHERE in the environment"):
        settings.resolve("%NOWHERE%")


def test_a_connection_is_a_connection_string_or_endpoints_for_an_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOTOS", "UseDevelopmentStorage=true")
    assert "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1" in str(settings.connection("PHOTOS", "blob"))
    monkeypatch.setenv("BYIDENTITY", "")
    monkeypatch.setenv("BYIDENTITY__blobServiceUri", "https://x")
    monkeypatch.setenv("BYIDENTITY__clientId", "one")
    assert settings.connection("BYIDENTITY", "blob") == settings.ByIdentity("https://x", "one")
    with pytest.raises(HostError, match="set BYIDENTITY__queueServiceUri"):
        settings.connection("BYIDENTITY", "queue")
    with pytest.raises(HostError, match="set UNSET to the connection string"):
        settings.connection("UNSET", "blob")


@pytest.mark.parametrize(
    ("connection", "part"),
    [
        ("nonsense", "is not a connection string"),
        (
            "AccountName=a;AccountKey=YQ==;BlobEndpoint=http://127.0.0.1:9/a;QueueEndpoint=http://127.0.0.1:9/a",
            "does it run?",
        ),
    ],
)
async def test_an_account_that_cannot_be_used_ends_the_host_with_one_message(
    app: Path, connection: str, part: str
) -> None:
    (app / "function_app.py").write_text(QUEUE + "def f(m): ...")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "devstack", "host", "--app", str(app),
        env={**os.environ, "AzureWebJobsStorage": connection, "IMAGES": connection},
        cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert part in output.decode()
    assert "Traceback" not in output.decode()
