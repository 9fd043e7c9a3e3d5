"""Event Grid webhook (`/runtime/webhooks/blobs`) and function list (`/admin/functions`).

As on Azure, the webhook only sends messages to the queue that all hosts of the app share.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

from azure.core.exceptions import AzureError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from functions_host.blob_triggers import FUNCTION_ID_PREFIX, BlobMessage, BlobTrigger
from functions_host.functions import Function
from functions_host.settings import resolve_settings

log = logging.getLogger(__name__)
WEBHOOK_PATH = "/runtime/webhooks/blobs"
FUNCTIONS_PATH = "/admin/functions"
EVENT_TYPES = ("subscriptionvalidation", "notification", "unsubscribe")
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
