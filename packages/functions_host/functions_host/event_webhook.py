"""`/runtime/webhooks/blobs`: where Event Grid tells of blobs, and `/admin/functions`: what there is to be told.

As in the platform's own host the webhook does nothing but put a message into the queue that all hosts of the app share.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from azure.core.exceptions import AzureError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from devstack.host.blobs import ID_PREFIX, BlobTrigger, Message
from devstack.host.functions import Function
from devstack.host.settings import resolve

log = logging.getLogger("host")
BLOBS = "/runtime/webhooks/blobs"
FUNCTIONS = "/admin/functions"
Enqueue = Callable[[Message], Awaitable[None]]


class BlobWebhook:
    """Answers Event Grid. `key` is what the `code` of its address must be; any will do when it is empty."""

    def __init__(self, triggers: list[BlobTrigger], enqueue: Enqueue, key: str) -> None:
        self._names = {trigger.function.name for trigger in triggers}
        self._enqueue, self._key = enqueue, key

    async def __call__(self, request: Request) -> Response:
        """Take events, or part in the handshake."""
        code = request.query_params.get("code", "")
        if self._key and not hmac.compare_digest(code.encode(), self._key.encode()):
            return Response(status_code=401)
        kind = request.headers.get("aeg-event-type", "").lower()
        name = request.query_params.get("functionName", "").removeprefix(ID_PREFIX)
        if request.method != "POST" or kind not in ("subscriptionvalidation", "notification", "unsubscribe"):
            return Response(status_code=400)
        if name not in self._names:
            log.error("Event Grid asks for the function '%s', which is not one with a blob trigger", name)
            return Response(status_code=404)
        try:
            return await self._taken(kind, name, json.loads(await request.body()))
        except (ValueError, TypeError, KeyError, IndexError) as error:
            log.error("Event Grid sent what is no event: %s", error)  # noqa: TRY400 - it is theirs
            return Response(status_code=400)
        except AzureError as error:
            log.error("an event cannot be kept, and comes again: %s", str(error).partition("\n")[0])  # noqa: TRY400
            return Response(status_code=503)

    async def _taken(self, kind: str, name: str, document: Any) -> Response:  # noqa: ANN401 - JSON
        if kind == "subscriptionvalidation":
            # A CloudEvent comes alone, with its data as text.
            data = document[0]["data"] if isinstance(document, list) else json.loads(document["data"])
            return JSONResponse({"validationResponse": str(data["validationCode"])})
        if kind == "notification":
            for message in [_message(name, event) for event in _listed(document)]:
                await self._enqueue(message)
        return Response(status_code=202)


def _listed(document: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON
    return document if isinstance(document, list) else [document]


def _message(function: str, event: dict[str, Any]) -> Message:
    """What an event says: the blob of its address, whatever its type."""
    data = event["data"]
    url = urlsplit(data["url"])
    path = unquote(url.path).lstrip("/")
    if _is_emulator(url.hostname or ""):
        path = path.partition("/")[2]
    container, _, name = path.partition("/")
    if not container or not name:
        raise ValueError(f"'{data['url']}' is not the address of a blob")
    return Message(function, container, name, str(data.get("eTag", "")).strip('"'))


def _is_emulator(host: str) -> bool:
    """Whether addresses on `host` begin with the account, as they do where the name of the host does not tell it."""
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return host == "localhost"


def described(functions: list[Function]) -> Response:
    """The functions of the app, as the platform's host lists them, with the paths of blob triggers resolved."""
    return JSONResponse([{"name": each.name, "config": {"bindings": [_binding(each)]}} for each in functions])


def _binding(function: Function) -> dict[str, Any]:
    path = {"path": resolve(function.trigger["path"])} if function.type == "blobTrigger" else {}
    return {**function.trigger, **path}
