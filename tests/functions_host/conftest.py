"""Fixtures for function hosts: a storage account with unique names, host processes and the reports of functions."""

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

from devstack import subprocesses
from functions_host.queue_listener import encode_message
from tests.waiting import eventually

APPS = Path(__file__).parent / "apps"


@dataclass
class Host:
    """A running function host: process, base URL and log lines."""

    process: subprocesses.Subprocess
    url: str
    log: list[str]


@dataclass
class HostEnvironment:
    """The storage resources of one test, in the shared storage account."""

    connection: str
    blobs: BlobServiceClient
    queues: QueueServiceClient
    name: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:12]}")

    @property
    def container(self) -> ContainerClient:
        """The container of the blob triggers."""
        return self.blobs.get_container_client(self.name)

    @property
    def report_queue(self) -> QueueClient:
        """The queue to which the functions send reports."""
        return self.queues.get_queue_client(f"{self.name}-reports")

    @property
    def blob_trigger_queue(self) -> QueueClient:
        """The queue that all blob triggers share."""
        return self.queues.get_queue_client(f"azure-webjobs-blobtrigger-{self.name}")

    def queue(self, suffix: str = "") -> QueueClient:
        """Return a queue of this test."""
        return self.queues.get_queue_client(self.name + suffix)

    def variables(self) -> dict[str, str]:
        """Return the environment variables of the host."""
        connections = {"AzureWebJobsStorage": self.connection, "IMAGES": self.connection}
        names = {"CONTAINER": self.name, "QUEUE": self.name, "REPORTS": self.report_queue.queue_name}
        schedule = {"SLOW_SECONDS": "0.3", "SCHEDULE": "* * * * * *"}
        return connections | names | schedule | {"AzureFunctionsWebHost__hostid": self.name}

    @contextlib.asynccontextmanager
    async def host(self, *options: str, app: Path = APPS / "every_trigger", **variables: str) -> AsyncIterator[Host]:
        """Run a function host until the block ends."""
        log: list[str] = []
        argv = [sys.executable, "-m", "functions_host", "--app", str(app), "--poll", "0.1", *options]
        env = self.variables() | variables
        async with subprocesses.running("host", argv, env=env, output=log.append, grace=20) as process:
            ready = await process.wait_for_line(r"function host ready: (http://127\.0\.0\.1:\d+)", 30)
            yield Host(process, ready[1], log)

    async def reports(self, count: int, *, exact: bool = True) -> list[dict[str, Any]]:
        """Wait for the next `count` reports of functions; if `exact`, check that there are no more."""
        reports: list[dict[str, Any]] = []

        async def has_enough() -> bool:
            reports.extend(await self._receive_reports())
            return len(reports) >= count

        await eventually(has_enough, 60)
        assert len(reports) == count or not exact, reports
        return reports

    async def _receive_reports(self) -> list[dict[str, Any]]:
        messages = [message async for message in self.report_queue.receive_messages(messages_per_page=32)]
        for message in messages:
            await self.report_queue.delete_message(message)
        return [json.loads(message.content) for message in messages]

    async def send(self, content: object, suffix: str = "") -> None:
        """Send a message to a queue of this test."""
        await self.queue(suffix).send_message(encode_message(json.dumps(content)))

    async def message_count(self, queue: QueueClient) -> int:
        """Return the number of messages, including invisible ones; 0 if the queue does not exist."""
        try:
            return (await queue.get_queue_properties()).approximate_message_count or 0
        except ResourceNotFoundError:
            return 0


@contextlib.asynccontextmanager
async def create_environment(azurite: str) -> AsyncIterator[HostEnvironment]:
    """Create the container and queues of a test."""
    async with (
        BlobServiceClient.from_connection_string(azurite) as blobs,
        QueueServiceClient.from_connection_string(azurite) as queues,
    ):
        environment = HostEnvironment(azurite, blobs, queues)
        await environment.container.create_container()
        for queue in (environment.report_queue, environment.queue(), environment.queue("-returning")):
            await queue.create_queue()
        yield environment


@pytest.fixture
async def environment(azurite: str) -> AsyncIterator[HostEnvironment]:
    """A new environment for hosts that the test starts."""
    async with create_environment(azurite) as environment:
        yield environment


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_host(azurite: str) -> AsyncIterator[tuple[HostEnvironment, Host]]:
    """An environment with a running host, for the tests of a module that run in the module's event loop."""
    async with create_environment(azurite) as environment, environment.host() as host:
        yield environment, host
