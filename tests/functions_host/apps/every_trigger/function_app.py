"""Every trigger once. What happens is told through a queue, `%TOLD%`."""

import asyncio
import json
import os
import time

import azure.functions as func
from azure.storage.queue import QueueClient
from azurefunctions.extensions.bindings import blob

app = func.FunctionApp()
JPEG = "%CONTAINER%/{name}.jpg"


def tell(**fields: object) -> None:
    """Tell the test what happened, and in which process."""
    queue = QueueClient.from_connection_string(os.environ["IMAGES"], os.environ["TOLD"])
    queue.send_message(json.dumps({**fields, "pid": os.getpid()}))


@app.blob_trigger(arg_name="client", path=JPEG, connection="IMAGES", source=func.BlobSource.EVENT_GRID)
async def by_client(client: blob.BlobClient, context: func.Context) -> None:
    content = await asyncio.to_thread(lambda: client.download_blob().readall())
    if content == b"bad":
        raise ValueError("a bad picture")
    if content == b"slow":
        await asyncio.sleep(float(os.environ["SLOW"]))
    tell(function=context.function_name, id=context.invocation_id, blob=client.blob_name, size=len(content))


@app.blob_trigger(arg_name="stream", path="%CONTAINER%/{name}.txt", connection="IMAGES")
def by_stream(stream: func.InputStream) -> None:
    tell(function="by_stream", blob=stream.name, size=len(stream.read()), length=stream.length)


@app.queue_trigger(arg_name="msg", queue_name="%QUEUE%", connection="IMAGES")
async def by_queue(msg: func.QueueMessage) -> None:
    order = msg.get_json()
    tell(function="by_queue", order=order, id=msg.id, tries=msg.dequeue_count)
    if "sleep" in order:
        await asyncio.sleep(order["sleep"])
        tell(function="by_queue", slept=order["sleep"])
    if order.get("fail", 0) >= (msg.dequeue_count or 0):
        raise RuntimeError("asked to fail")


@app.queue_trigger(arg_name="msg", queue_name="%QUEUE%-answering", connection="IMAGES")
def answering(msg: str):  # noqa: ANN201 - what is returned is wrong on purpose
    tell(function="answering", text=msg)
    return "not allowed"


@app.route("hello/{name?}", methods=["GET", "POST"], auth_level=func.AuthLevel.FUNCTION)
async def hello(req: func.HttpRequest) -> func.HttpResponse:
    files = {key: file.read().decode() for key, file in req.files.items()} if req.method == "POST" else {}
    answer = {"name": req.route_params.get("name"), "params": dict(req.params), "form": dict(req.form), "files": files}
    return func.HttpResponse(
        json.dumps({**answer, "header": req.headers.get("X-Test"), "url": req.url, "body": len(req.get_body())}),
        status_code=201,
        mimetype="application/json",
        headers={"X-Answer": "yes"},
    )


@app.route("boom")
def boom(req: func.HttpRequest) -> str:
    if req.params.get("tell"):
        tell(function="boom")
    if req.params.get("sleep"):
        time.sleep(float(req.params["sleep"]))
        return "slept"
    raise RuntimeError("the secret reason")


@app.route("wrong")
async def wrong(req: func.HttpRequest):  # noqa: ANN201 - what is returned is wrong on purpose
    return {"not": "allowed"}
