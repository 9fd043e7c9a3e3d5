"""Fixtures: an Event Grid emulator in front of the storage emulator, and webhooks that record requests."""

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

from event_grid_emulator.emulator import AZURITE_ACCOUNT, AZURITE_KEY, EmulatorOptions, running, serving
from event_grid_emulator.subscription import blob_trigger_subscription
from tests.waiting import eventually

# The retry delays of the emulator are a thousandth of Azure's.
PACE = 0.001


@dataclass
class Webhook:
    """An endpoint that records events. It responds with `statuses` in turn and repeats the last one."""

    statuses: list[int] = field(default_factory=lambda: [200])
    events: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    validations: list[Any] = field(default_factory=list)
    url: str = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=405)
        document = json.loads(await request.body())
        if request.headers["aeg-event-type"] == "SubscriptionValidation":
            self.validations.append(document)
            data = document[0]["data"] if isinstance(document, list) else json.loads(document["data"])
            return JSONResponse({"validationResponse": data["validationCode"]})
        self.events.extend(document if isinstance(document, list) else [document])
        self.headers.append(dict(request.headers))
        return Response(status_code=self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Webhook]:
        """Serve the endpoint until the block ends."""
        async with serving(self, 0) as url:
            self.url = f"{url}/hook"
            yield self

    async def wait_for_events(self, count: int) -> list[dict[str, Any]]:
        """Return the recorded events when there are at least `count`."""
        await eventually(lambda: len(self.events) >= count, 30)
        return self.events


@dataclass
class EmulatedAccount:
    """A storage account behind an Event Grid emulator, with a container of the test."""

    url: str
    container: ContainerClient
    http: httpx.AsyncClient

    @property
    def control_url(self) -> str:
        """The URL of the control API."""
        return self.url.rsplit("/", 1)[0] + "/.eventgrid"

    async def put_subscription(self, name: str, document: dict[str, Any]) -> httpx.Response:
        """Create or replace a subscription."""
        return await self.http.put(f"{self.control_url}/subscriptions/{name}", json=document)

    async def subscribe(self, webhook: Webhook, **changes: Any) -> None:
        """Subscribe a webhook to the completed blobs of the container, as `sub`."""
        document = {**blob_trigger_subscription([webhook.url], self.container.container_name), **changes}
        response = await self.put_subscription("sub", document)
        assert response.status_code == 201, response.text

    async def publish(self, *events: dict[str, Any]) -> httpx.Response:
        """Publish events through the control API."""
        return await self.http.post(f"{self.control_url}/events", json=list(events))

    async def status(self, name: str = "sub") -> dict[str, Any]:
        """Return the counts of a subscription."""
        return dict((await self.http.get(self.control_url)).json()[name])


@contextlib.asynccontextmanager
async def emulated_account(azurite: str, **options: Any) -> AsyncIterator[EmulatedAccount]:
    """Run an Event Grid emulator in front of the shared storage emulator."""
    endpoint = re.search(r"BlobEndpoint=([^;]+)", azurite)
    assert endpoint
    async with running(EmulatorOptions(endpoint[1], pace=PACE, **options)) as (base_url, _):
        url = f"{base_url}/{AZURITE_ACCOUNT}"
        async with BlobServiceClient(url, AZURITE_KEY) as blobs, httpx.AsyncClient(timeout=30) as http:
            container = await blobs.create_container(f"e{uuid.uuid4().hex[:12]}")
            yield EmulatedAccount(url, container, http)


@pytest.fixture
async def webhook() -> AsyncIterator[Webhook]:
    async with Webhook().serving() as webhook:
        yield webhook


@pytest.fixture
async def account(azurite: str) -> AsyncIterator[EmulatedAccount]:
    async with emulated_account(azurite) as account:
        yield account
