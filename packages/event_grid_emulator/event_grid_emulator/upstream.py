"""Reverse proxy for the storage emulator: forward requests, report blob operations, write dead letters."""

import base64
import binascii
import json
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient
from multidict import CIMultiDict
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from yarl import URL

from event_grid_emulator.errors import EventGridError
from event_grid_emulator.events import BlobOperation, Exchange
from event_grid_emulator.subscription import Subscription

HOP_BY_HOP_HEADERS = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "proxy-authorization",
    "expect",
}
CHUNK_BYTES = 1 << 18


def _end_to_end_headers(headers: list[tuple[bytes, bytes]]) -> CIMultiDict[str]:
    decoded = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
    return CIMultiDict((name, value) for name, value in decoded if name not in HOP_BY_HOP_HEADERS)


def _body(request: Request) -> AsyncIterator[bytes] | None:
    """Return the body as a stream, so that memory does not grow with its size; None if there is no body."""
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    return _chunks(request) if has_body else None


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        if chunk:
            yield chunk


async def _send_response(response: aiohttp.ClientResponse, send: Send) -> None:
    headers = [
        (name, value)
        for name, value in response.raw_headers
        if name.decode("latin-1").lower() not in HOP_BY_HOP_HEADERS
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


log = logging.getLogger(__name__)
# Storage emulators keep idle connections longer than this. The client must be the one to close them.
KEEP_ALIVE_SECONDS = 300
CONNECT_TIMEOUT_SECONDS = 10


def _check_key(key: str) -> None:
    try:
        base64.b64decode(key, validate=True)
    except binascii.Error:
        raise EventGridError("the account key is invalid: it must be base64") from None


class Upstream:
    """The blob service of a storage emulator. `session` forwards requests; `key` signs the emulator's own requests."""

    def __init__(self, url: str, account: str, key: str, session: aiohttp.ClientSession) -> None:
        self.url, self.session = url.rstrip("/"), session
        credential = {"account_name": account, "account_key": key}
        self._blobs = BlobServiceClient(f"{self.url}/{account}", credential, retry_total=1)

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, account: str, key: str) -> AsyncIterator[Self]:
        """Open the emulator at `url` until the block ends. The URL may contain the account.

        Raises:
            EventGridError: The URL or the key is invalid.
        """
        split = urlsplit(url)
        if split.scheme not in ("http", "https") or not split.netloc:
            raise EventGridError(f"'{url}' is not the URL of an emulator, such as http://127.0.0.1:10000")
        _check_key(key)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False, timeout=timeout) as session:
            upstream = cls(f"{split.scheme}://{split.netloc}", account, key, session)
            async with upstream._blobs:
                yield upstream

    async def blob_length(self, operation: BlobOperation) -> int | None:
        """Return the length of the written blob in bytes; None if it has been replaced or cannot be read."""
        try:
            client = self._blobs.get_blob_client(operation.container, operation.blob_name)
            blob = await client.get_blob_properties()
        except AzureError:
            return None
        return blob.size if blob.etag.strip('"') == operation.etag else None

    async def write_dead_letter(self, subscription: Subscription, event: dict[str, Any]) -> None:
        """Write an undelivered event to the dead-letter container, under the name that Azure uses."""
        assert subscription.dead_letter_destination is not None  # noqa: S101 - the caller checks this
        container = self._blobs.get_container_client(
            subscription.dead_letter_destination.properties.blob_container_name
        )
        now = datetime.now(UTC)
        # Azure does not pad month, day and hour with zeros.
        folder = f"{subscription.name.upper()}/{now.year}/{now.month}/{now.day}/{now.hour}"
        name = f"{folder}/{uuid.uuid4()}.json"
        text = json.dumps([event], indent=1)
        try:
            try:
                await container.upload_blob(name, text)
            except ResourceNotFoundError:
                with suppress(ResourceExistsError):
                    await container.create_container()
                await container.upload_blob(name, text)
        except AzureError as error:
            log.error("cannot write the dead letter %s: %s", name, str(error).partition("\n")[0])  # noqa: TRY400


class Proxy:
    """ASGI application. It calls `on_operation` with each blob operation before the client gets the response.

    Shared key signatures stay valid: they cover the path, which is unchanged, and not the host.
    """

    def __init__(self, upstream: Upstream, on_operation: Callable[[BlobOperation, str], None]) -> None:
        self._upstream, self._on_operation = upstream, on_operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request."""
        request = Request(scope, receive)
        path, query = scope["raw_path"].decode("ascii").partition("?")[0], scope["query_string"].decode("ascii")
        url = URL(f"{self._upstream.url}{path}{'?' + query if query else ''}", encoded=True)
        forwarded = self._upstream.session.request(
            request.method,
            url,
            headers=_end_to_end_headers(scope["headers"]),
            data=_body(request),
            allow_redirects=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        try:
            response = await forwarded
        except aiohttp.ClientError as error:  # also when the client has disconnected
            message = f"the emulator does not respond: {error}"
            await PlainTextResponse(message, HTTPStatus.BAD_GATEWAY)(scope, receive, send)
            return
        async with response:
            self._report(request, path, query, response)
            await _send_response(response, send)

    def _report(self, request: Request, path: str, query: str, response: aiohttp.ClientResponse) -> None:
        response_headers = {name.lower(): value for name, value in response.headers.items()}
        exchange = Exchange(request.method, path, query, request.headers, response.status, response_headers)
        operation = BlobOperation.from_exchange(exchange)
        if operation:
            self._on_operation(operation, f"{request.url.scheme}://{request.url.netloc}")
