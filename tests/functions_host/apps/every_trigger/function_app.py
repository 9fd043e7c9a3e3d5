"""An app with every trigger. The functions send reports to the queue `%REPORTS%`."""

import asyncio
import json
import os
import time

import azure.functions as func
from azure.storage.queue import QueueClient
from azurefunctions.extensions.bindings import blob

app = func.FunctionApp()
JPEG_PATH = "%CONTAINER%/{name}.jpg"


def report(**fields: object) -> None:
    """Send a report to the test, with the id of this process."""
    queue = QueueClient.from_connection_string(os.environ["IMAGES"], os.environ["REPORTS"])
    queue.send_message(json.dumps({**fields, "pid": os.getpid()}))


@app.blob_trigger(arg_name="client", path=JPEG_PATH, connection="IMAGES", source=func.BlobSource.EVENT_GRID)
async def by_client(client: blob.BlobClient, context: func.Context) -> None:
    content = await asyncio.to_thread(lambda: client.download_blob().readall())
    if content == b"bad":
        raise ValueError("a bad image")
    if content == b"slow":
        await asyncio.sleep(float(os.environ["SLOW_SECONDS"]))
    report(function=context.function_name, id=context.invocation_id, blob=client.blob_name, size=len(content))


@app.blob_trigger(arg_name="stream", path="%CONTAINER%/{name}.txt", connection="IMAGES")
def by_stream(stream: func.InputStream) -> None:
    report(function="by_stream", blob=stream.name, size=len(stream.read()), length=stream.length)


@app.queue_trigger(arg_name="msg", queue_name="%QUEUE%", connection="IMAGES")
async def by_queue(msg: func.QueueMessage) -> None:
    content = msg.get_json()
    report(function="by_queue", content=content, id=msg.id, attempt=msg.dequeue_count)
    if "sleep" in content:
        await asyncio.sleep(content["sleep"])
        report(function="by_queue", slept=content["sleep"])
    if content.get("fail", 0) >= (msg.dequeue_count or 0):
        raise RuntimeError("failed as requested")


@app.queue_trigger(arg_name="msg", queue_name="%QUEUE%-returning", connection="IMAGES")
def returning(msg: str):  # noqa: ANN201 - the return value is invalid on purpose
    report(function="returning", text=msg)
    return "not allowed"


@app.route("hello/{name?}", methods=["GET", "POST"], auth_level=func.AuthLevel.FUNCTION)
async def hello(req: func.HttpRequest) -> func.HttpResponse:
    files = {key: file.read().decode() for key, file in req.files.items()} if req.method == "POST" else {}
    document = {
        "name": req.route_params.get("name"),
        "params": dict(req.params),
        "form": dict(req.form),
        "files": files,
    }
    return func.HttpResponse(
        json.dumps({**document, "header": req.headers.get("X-Test"), "url": req.url, "body": len(req.get_body())}),
        status_code=201,
        mimetype="application/json",
        headers={"X-Response": "yes"},
    )


@app.route("boom")
def boom(req: func.HttpRequest) -> str:
    if req.params.get("report"):
        report(function="boom")
    if req.params.get("sleep"):
        time.sleep(float(req.params["sleep"]))
        return "slept"
    raise RuntimeError("the secret reason")


@app.route("wrong")
async def wrong(req: func.HttpRequest):  # noqa: ANN201 - the return value is invalid on purpose
    return {"not": "allowed"}
