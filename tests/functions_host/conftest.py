"""A stage for function hosts: an account with names of its own, hosts as processes, and what their functions tell."""

from __future__ import annotations

import contextlib
import json
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient, ContainerClient
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from devstack import child
from devstack.host.queues import encode
from tests.waiting import eventually

APPS = Path(__file__).parent / "apps"


@dataclass
class Host:
    """A running function host."""

    process: child.Child
    url: str
    log: list[str]


@dataclass
class Stage:
    """One test's part of the shared account."""

    connection: str
    blobs: BlobServiceClient
    queues: QueueServiceClient
    name: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:12]}")

    @property
    def container(self) -> ContainerClient:
        return self.blobs.get_container_client(self.name)

    @property
    def told(self) -> QueueClient:
        return self.queues.get_queue_client(f"{self.name}-told")

    @property
    def shared_queue(self) -> QueueClient:
        """The queue behind the blob triggers."""
        return self.queues.get_queue_client(f"azure-webjobs-blobtrigger-{self.name}")

    def queue(self, suffix: str = "") -> QueueClient:
        return self.queues.get_queue_client(self.name + suffix)

    def environment(self) -> dict[str, str]:
        connections = {"AzureWebJobsStorage": self.connection, "IMAGES": self.connection}
        names = {"CONTAINER": self.name, "QUEUE": self.name, "TOLD": self.told.queue_name, "SLOW": "0.3"}
        return connections | names | {"AzureFunctionsWebHost__hostid": self.name, "EVERY": "* * * * * *"}

    @contextlib.asynccontextmanager
    async def host(self, *options: str, app: Path = APPS / "all", **environment: str) -> AsyncIterator[Host]:
        log: list[str] = []
        argv = [sys.executable, "-m", "devstack", "host", "--app", str(app), "--poll", "0.1", *options]
        variables = self.environment() | environment
        async with child.running("host", argv, env=variables, output=log.append, grace=20) as process:
            ready = await process.line(r"function host ready: (http://127\.0\.0\.1:\d+)", 30)
            yield Host(process, ready[1], log)

    async def hear(self, count: int, timeout: float = 30.0) -> list[dict[str, Any]]:  # noqa: ASYNC109
        """The next `count` things that functions tell, and no more than these."""
        heard: list[dict[str, Any]] = []

        async def enough() -> bool:
            heard.extend(await self._heard())
            return len(heard) >= count

        await eventually(enough, timeout)
        assert len(heard) == count, heard
        return heard

    async def _heard(self) -> list[dict[str, Any]]:
        messages = [message async for message in self.told.receive_messages(messages_per_page=32)]
        for message in messages:
            await self.told.delete_message(message)
        return [json.loads(message.content) for message in messages]

    async def send(self, order: object, suffix: str = "") -> None:
        await self.queue(suffix).send_message(encode(json.dumps(order)))

    async def waiting(self, queue: QueueClient) -> int:
        """How many messages a queue holds, hidden ones included; 0 when it is not there."""
        try:
            return (await queue.get_queue_properties()).approximate_message_count or 0
        except ResourceNotFoundError:
            return 0


@contextlib.asynccontextmanager
async def staged(azurite: str) -> AsyncIterator[Stage]:
    """A stage with its container and queues."""
    async with (
        BlobServiceClient.from_connection_string(azurite) as blobs,
        QueueServiceClient.from_connection_string(azurite) as queues,
    ):
        stage = Stage(azurite, blobs, queues)
        await stage.container.create_container()
        for queue in (stage.told, stage.queue(), stage.queue("-answering")):
            await queue.create_queue()
        yield stage


@pytest.fixture
async def stage(azurite: str) -> AsyncIterator[Stage]:
    """A stage of one's own, to start hosts on."""
    async with staged(azurite) as stage:
        yield stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(azurite: str) -> AsyncIterator[tuple[Stage, Host]]:
    """A stage and a running host, shared by the tests of a module that run in the module's event loop."""
    async with staged(azurite) as stage, stage.host() as host:
        yield stage, host
