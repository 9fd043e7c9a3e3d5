"""An Event Grid before the emulator, and webhooks that keep what they are sent."""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from azure.storage.blob.aio import BlobServiceClient, ContainerClient
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from devstack import azurite as emulator
from devstack.event_grid import Options, running
from devstack.event_grid.subscription import for_blobs
from devstack.serving import serving
from tests.waiting import eventually


@dataclass
class Webhook:
    """An endpoint. It answers notifications with `statuses`, the last one for ever, and keeps what it got."""

    statuses: list[int] = field(default_factory=lambda: [200])
    events: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    url: str = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=405)
        document = json.loads(await request.body())
        if request.headers["aeg-event-type"] == "SubscriptionValidation":
            self.asked.append(document)
            data = document[0]["data"] if isinstance(document, list) else json.loads(document["data"])
            return JSONResponse({"validationResponse": data["validationCode"]})
        self.events.extend(document if isinstance(document, list) else [document])
        self.headers.append(dict(request.headers))
        return Response(status_code=self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[Webhook]:
        async with serving(self, 0, grace=1) as address:
            self.url = f"{address}/hook"
            yield self

    async def hear(self, count: int) -> list[dict[str, Any]]:
        """The first `count` events; that there are no more is for a later look to say."""
        await eventually(lambda: len(self.events) >= count, 30)
        return self.events


@dataclass
class Account:
    """An Event Grid, its address, and a container of one's own behind it."""

    address: str
    container: ContainerClient
    control: httpx.AsyncClient

    @property
    def root(self) -> str:
        return self.address.rsplit("/", 1)[0] + "/.eventgrid"

    async def subscribe(self, name: str, document: dict[str, Any]) -> httpx.Response:
        return await self.control.put(f"{self.root}/subscriptions/{name}", json=document)

    async def subscribed(self, webhook: Webhook, **changes: Any) -> None:
        """Subscribe a webhook to the whole blobs of this container."""
        document = {**for_blobs([webhook.url], self.container.container_name), **changes}
        answer = await self.subscribe("sub", document)
        assert answer.status_code == 201, answer.text

    async def publish(self, *events: dict[str, Any]) -> httpx.Response:
        return await self.control.post(f"{self.root}/events", json=list(events))

    async def counted(self, name: str = "sub") -> dict[str, Any]:
        return dict((await self.control.get(self.root)).json()[name])


@contextlib.asynccontextmanager
async def account(azurite: str, **options: Any) -> AsyncIterator[Account]:
    """An Event Grid before the shared emulator; its pauses last a thousandth of Azure's."""
    endpoint = re.search(r"BlobEndpoint=([^;]+)", azurite)
    assert endpoint
    async with running(Options(endpoint[1], **{"pace": 0.001, **options})) as (address, _):
        uri = f"{address}/{emulator.ACCOUNT}"
        async with BlobServiceClient(uri, emulator.KEY) as blobs, httpx.AsyncClient(timeout=30) as control:
            container = await blobs.create_container(f"e{uuid.uuid4().hex[:12]}")
            yield Account(uri, container, control)


@pytest.fixture
async def webhook() -> AsyncIterator[Webhook]:
    async with Webhook().served() as served:
        yield served


@pytest.fixture
async def storage(azurite: str) -> AsyncIterator[Account]:
    async with account(azurite) as opened:
        yield opened
