"""Invalid apps and settings are rejected at the start, with a message that says how to correct them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import pytest

from functions_host import settings
from functions_host.errors import HostError
from functions_host.functions import load_functions
from functions_host.storage import StorageClients

HEAD = """
from __future__ import annotations
import typing
import azure.functions as func
from azurefunctions.extensions.bindings import blob
app = func.FunctionApp()
"""
TRIGGER = '@app.queue_trigger(arg_name="m", queue_name="q", connection="IMAGES")\n'
QUEUE = HEAD + TRIGGER
BLOB = HEAD + '@app.blob_trigger(arg_name="b", path="c/{name}", connection="IMAGES")\n'


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for an app. Loading it changes global state of this process, which is restored afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.delitem(sys.modules, "function_app", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("1/0", "does not load: ZeroDivisionError"),
        ("x = 1", "must contain one FunctionApp, not 0"),
        (HEAD + "other = func.FunctionApp()", "must contain one FunctionApp, not 2"),
        (QUEUE + "def f(m: func.QueueMessage, more=None): ...", "its parameters must be m"),
        (QUEUE + "def f(other: func.QueueMessage): ...", "its parameters must be m"),
        (QUEUE + "def f(m: func.HttpRequest): ...", "cannot provide"),
        (BLOB + "def f(b: func.InputStream | None): ...", "cannot provide"),
        (QUEUE + "def f(m: blob.BlobClient): ...", "cannot provide"),
        (QUEUE + "def f(m: Missing): ...", "'Missing' is not defined"),
        (QUEUE + "def f(m): ...\n" + TRIGGER + "def f(m): ...", "f"),
        (HEAD + '@app.queue_output("o", "q", "IMAGES")\n' + TRIGGER + "def f(m, o): ...", "one binding"),
        (HEAD + '@app.route("x")\ndef f(req: str): ...', "cannot provide"),
    ],
)
def test_an_app_that_azure_rejects_is_rejected(app: Path, source: str, part: str) -> None:
    (app / "function_app.py").write_text(source)
    with pytest.raises(HostError) as error:
        load_functions(app)
    assert part in str(error.value)


def test_a_folder_without_an_app_is_rejected(app: Path) -> None:
    with pytest.raises(HostError, match=r"no function_app\.py"):
        load_functions(app)


def test_the_environment_overrides_local_settings(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "SET", "environment")
    (app / "local.settings.json").write_text('{"IsEncrypted": false, "Values": {"SET": "file", "UNSET_YET": "file"}}')
    settings.load_local_settings(app)
    assert (os.environ["SET"], os.environ["UNSET_YET"]) == ("environment", "file")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "host.json is not JSON"),
        ("[]", "must contain a JSON object"),
        ('{"functionTimeout": "ten"}', "functionTimeout cannot be 'ten'"),
        ('{"extensions": {"queues": {"batchSize": 33}}}', "batchSize must be 1 to 32"),
        ('{"extensions": {"blobs": {"maxDegreeOfParallelism": 0}}}', "must be 1 or more"),
    ],
)
def test_an_invalid_host_json_is_rejected(app: Path, text: str, part: str) -> None:
    (app / "host.json").write_text(text)
    with pytest.raises(HostError) as error:
        settings.load_host_json(app)
    assert part in str(error.value)


def test_host_json_is_read_as_on_azure(app: Path) -> None:
    (app / "host.json").write_text(
        '{"functionTimeout": "1.00:10:00.5", "extensions": {"blobs": {"maxDegreeOfParallelism": 4},'
        ' "queues": {"batchSize": 3, "newBatchThreshold": 1, "visibilityTimeout": "00:00:30"}}}'
    )
    host_json = settings.load_host_json(app)
    queues, blobs = host_json.queues, host_json.blobs
    assert host_json.function_timeout == 87000.5
    assert (blobs.batch_size, blobs.new_batch_threshold) == (3, 1)
    assert (queues.batch_size, queues.retry_delay, queues.max_dequeue_count) == (3, 30.0, 5)
    assert queues.max_polling_interval == 60
    # Azure's blob trigger tries a blob five times within a second, whatever the delay of queues is.
    assert (blobs.retry_delay, blobs.max_dequeue_count) == (0, 5)


def test_settings_in_bindings_are_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "input")
    assert settings.resolve_settings("%WHERE%/{name}") == "input/{name}"
    with pytest.raises(HostError, match="set NOWHERE in the environment"):
        settings.resolve_settings("%NOWHERE%")


def test_a_connection_is_a_string_or_an_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOTOS", "UseDevelopmentStorage=true")
    assert settings.resolve_connection("PHOTOS", "blob") == "UseDevelopmentStorage=true"
    monkeypatch.setenv("BYIDENTITY", "")
    monkeypatch.setenv("BYIDENTITY__blobServiceUri", "https://x")
    monkeypatch.setenv("BYIDENTITY__clientId", "one")
    assert settings.resolve_connection("BYIDENTITY", "blob") == settings.IdentityConnection("https://x", "one")
    with pytest.raises(HostError, match="set BYIDENTITY__queueServiceUri"):
        settings.resolve_connection("BYIDENTITY", "queue")
    with pytest.raises(HostError, match="set UNSET to the connection string"):
        settings.resolve_connection("UNSET", "blob")


async def test_development_storage_is_azurite_on_its_default_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOTOS", "UseDevelopmentStorage=true")
    async with contextlib.aclosing(StorageClients()) as clients:
        assert clients.blobs("PHOTOS").url == "http://127.0.0.1:10000/devstoreaccount1/"
        assert clients.queues("PHOTOS").url == "http://127.0.0.1:10001/devstoreaccount1/"


@pytest.mark.parametrize(
    ("connection", "part"),
    [
        ("nonsense", "is not a connection string"),
        (
            "AccountName=a;AccountKey=YQ==;BlobEndpoint=http://127.0.0.1:9/a;QueueEndpoint=http://127.0.0.1:9/a",
            "is it running?",
        ),
    ],
)
async def test_an_unusable_account_ends_the_host_with_one_message(app: Path, connection: str, part: str) -> None:
    (app / "function_app.py").write_text(QUEUE + "def f(m): ...")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "functions_host", "--app", str(app),
        env={**os.environ, "AzureWebJobsStorage": connection, "IMAGES": connection},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert part in output.decode()
    assert "Traceback" not in output.decode()
