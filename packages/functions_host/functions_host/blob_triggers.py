"""Blob triggers: match blobs to functions, exchange messages about them, and invoke the functions.

As on Azure, the Event Grid webhook (`/runtime/webhooks/blobs`) only sends messages to the queue that all hosts of the
app share. The list of functions is at `/admin/functions`.
"""

import hmac
import ipaddress
import json
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.functions.blob import InputStream
from azure.storage.blob import BlobProperties
from azurefunctions.extensions.base import Datum, get_binding_registry
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from functions_host.errors import HostError
from functions_host.functions import Function, Invoker
from functions_host.queue_listener import Delivery, encode_message
from functions_host.settings import resolve_settings
from functions_host.storage import StorageClients, ensure_queue

log = logging.getLogger(__name__)
WEBHOOK_PATH = "/runtime/webhooks/blobs"
FUNCTIONS_PATH = "/admin/functions"
EVENT_TYPES = ("subscriptionvalidation", "notification", "unsubscribe")


@dataclass(frozen=True)
class BlobTrigger:
    """A function with a blob trigger: container, literal prefix and pattern of the blob names."""

    function: Function
    container: str
    prefix: str
    name_pattern: re.Pattern[str]

    @classmethod
    def from_function(cls, function: Function) -> Self:
        """Parse the trigger's path: a container, or a container and a pattern such as `in/{name}.{extension}`.

        Raises:
            HostError: The path is neither.
        """
        container, _, pattern = resolve_settings(function.trigger["path"]).partition("/")
        literal, *rest = re.split(r"\{(\w+)\}", pattern or "{name}")
        names, literals = rest[::2], rest[1::2]
        if not container or len(set(names)) < len(names):
            raise HostError(f"{function.name}: '{function.trigger['path']}' is not container/pattern")
        pairs = zip(names, literals, strict=True)
        regex = re.escape(literal) + "".join(f"(?P<{name}>.+){re.escape(after)}" for name, after in pairs)
        return cls(function, container, literal, re.compile(regex, re.DOTALL))

    def matches(self, blob_name: str) -> bool:
        """Return whether a blob of the container triggers the function."""
        return self.name_pattern.fullmatch(blob_name) is not None


@dataclass(frozen=True)
class BlobMessage:
    """A message about one blob for one function, in the shared queue and the dead-letter queue."""

    function_name: str
    container: str
    blob_name: str
    etag: str

    def to_json(self) -> str:
        """Serialize the message with Azure's field names."""
        return json.dumps(
            {
                "FunctionId": FUNCTION_ID_PREFIX + self.function_name,
                "BlobType": "BlockBlob",
                "ContainerName": self.container,
                "BlobName": self.blob_name,
                "ETag": self.etag,
            }
        )

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Parse the output of `to_json`."""
        document = json.loads(text)
        function_name = document["FunctionId"].removeprefix(FUNCTION_ID_PREFIX)
        return cls(function_name, document["ContainerName"], document["BlobName"], document.get("ETag", ""))


class BlobMessageHandler:
    """Handle the messages of the queue that all blob triggers share."""

    def __init__(self, triggers: list[BlobTrigger], clients: StorageClients, invoke: Invoker) -> None:
        self._functions = {trigger.function.name: trigger.function for trigger in triggers}
        self._clients = clients
        self._invoke = invoke

    async def handle(self, delivery: Delivery) -> None:
        """Invoke the function. Skip blobs that were deleted or replaced: a replacement has its own message."""
        message = _parse(delivery)
        if message is None:
            return
        function = self._functions.get(message.function_name)
        blob = await self._current_blob(function, message) if function else None
        if function is None or blob is None:
            log.info("skipped a message: blob %s/%s was deleted or replaced", message.container, message.blob_name)
            return
        argument = await self._argument(function, message, blob)
        await self._invoke(
            function, argument, f"blob {message.container}/{message.blob_name}, attempt {delivery.attempt}"
        )

    async def dead_letter(self, delivery: Delivery) -> None:
        """Copy the message to the dead-letter queue in the storage account of the blob."""
        message = BlobMessage.from_json(delivery.body or b"")
        connection = self._functions[message.function_name].connection
        queue = await ensure_queue(self._clients, connection, DEAD_LETTER_QUEUE)
        await queue.send_message(encode_message(message.to_json()))

    async def _current_blob(self, function: Function, message: BlobMessage) -> BlobProperties | None:
        """Return the blob of a message; None if it was deleted or replaced."""
        client = self._clients.blobs(function.connection).get_blob_client(message.container, message.blob_name)
        try:
            blob = await client.get_blob_properties()
        except ResourceNotFoundError:
            return None
        # Azure checks the ETag only for its own scans. Events do not name a version.
        is_replaced = function.trigger.get("source") != "EventGrid" and blob.etag.strip('"') != message.etag
        return None if is_replaced else blob

    async def _argument(self, function: Function, message: BlobMessage, blob: BlobProperties) -> object:
        """Convert a blob to the type of the parameter."""
        path = (message.container, message.blob_name)
        if function.takes_reference:
            return _reference(function, *path)
        client = self._clients.blobs(function.connection).get_blob_client(*path)
        data = await (await client.download_blob()).readall()
        if function.parameter_type in (bytes, str):
            return data if function.parameter_type is bytes else data.decode(errors="replace")
        return InputStream(data=data, name="/".join(path), uri=client.url, length=blob.size, metadata=blob.metadata)


@dataclass(frozen=True)
class BindingData:
    """Model binding data, as Azure sends it to the worker."""

    content: bytes
    version: str = "1.0"
    source: str = "AzureStorageBlobs"
    content_type: str = "application/json"


def _reference(function: Function, container: str, blob_name: str) -> object:
    """Have the converter of the app's SDK binding create the argument from a reference to the blob."""
    document = {"Connection": function.connection, "ContainerName": container, "BlobName": blob_name}
    datum = Datum(BindingData(json.dumps(document).encode()), "model_binding_data")
    converter = get_binding_registry().get(function.trigger_type)
    argument: object = converter.decode(datum, trigger_metadata={}, pytype=function.parameter_type)
    return argument


def _parse(delivery: Delivery) -> BlobMessage | None:
    try:
        return BlobMessage.from_json(delivery.body or b"")
    except (ValueError, TypeError, KeyError, AttributeError):
        log.error("skipped a message that is not about a blob: %s", (delivery.body or b"")[:200])  # noqa: TRY400
        return None


Enqueue = Callable[[BlobMessage], Awaitable[None]]


class BlobWebhook:
    """Receive events for blob triggers. Requests must have `key` as `code` in their URL; an empty key accepts any."""

    def __init__(self, triggers: list[BlobTrigger], enqueue: Enqueue, key: str) -> None:
        self._names = {trigger.function.name for trigger in triggers}
        self._enqueue, self._key = enqueue, key

    async def __call__(self, request: Request) -> Response:
        """Accept events, or respond to the validation handshake."""
        code = request.query_params.get("code", "")
        if self._key and not hmac.compare_digest(code.encode(), self._key.encode()):
            return Response(status_code=HTTPStatus.UNAUTHORIZED)
        event_type = request.headers.get("aeg-event-type", "").lower()
        name = request.query_params.get("functionName", "").removeprefix(FUNCTION_ID_PREFIX)
        if request.method != "POST" or event_type not in EVENT_TYPES:
            return Response(status_code=HTTPStatus.BAD_REQUEST)
        if name not in self._names:
            log.error("received an event for '%s': there is no blob trigger of this name", name)
            return Response(status_code=HTTPStatus.NOT_FOUND)
        try:
            return await self._process(event_type, name, json.loads(await request.body()))
        except (ValueError, TypeError, KeyError, IndexError) as error:
            log.error("rejected an invalid event: %s", error)  # noqa: TRY400 - a fault of the sender
            return Response(status_code=HTTPStatus.BAD_REQUEST)
        except AzureError as error:
            reason = str(error).partition("\n")[0]
            log.error("cannot enqueue an event, Event Grid will retry it: %s", reason)  # noqa: TRY400
            return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE)

    async def _process(self, event_type: str, name: str, document: Any) -> Response:  # noqa: ANN401 - JSON
        if event_type == "subscriptionvalidation":
            # A CloudEvent is not in an array, and its data is a JSON string.
            data = document[0]["data"] if isinstance(document, list) else json.loads(document["data"])
            return JSONResponse({"validationResponse": str(data["validationCode"])})
        if event_type == "notification":
            events = document if isinstance(document, list) else [document]
            for message in [_to_message(name, event) for event in events]:
                await self._enqueue(message)
        return Response(status_code=HTTPStatus.ACCEPTED)


def _to_message(function_name: str, event: dict[str, Any]) -> BlobMessage:
    """Return the message for the blob in the event's URL, for any event type."""
    data = event["data"]
    url = urlsplit(data["url"])
    path = unquote(url.path).lstrip("/")
    if _has_account_in_path(url.hostname or ""):
        path = path.partition("/")[2]
    container, _, blob_name = path.partition("/")
    if not container or not blob_name:
        raise ValueError(f"'{data['url']}' is not the URL of a blob")
    return BlobMessage(function_name, container, blob_name, str(data.get("eTag", "")).strip('"'))


def _has_account_in_path(host: str) -> bool:
    """Return whether URLs of this host begin with the account name, as those of an emulator do."""
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return host == "localhost"


def list_functions(functions: list[Function]) -> Response:
    """Return the functions of the app in Azure's format, with resolved blob paths."""
    return JSONResponse([{"name": each.name, "config": {"bindings": [_binding(each)]}} for each in functions])


def _binding(function: Function) -> dict[str, Any]:
    path = {"path": resolve_settings(function.trigger["path"])} if function.trigger_type == "blobTrigger" else {}
    return {**function.trigger, **path}


log = logging.getLogger(__name__)
DEAD_LETTER_QUEUE = "webjobs-blobtrigger-poison"
FUNCTION_ID_PREFIX = "Host.Functions."
