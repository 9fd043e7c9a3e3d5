"""Sources of a chaos test: uploads, overwrites and deletions, with the expected result."""

from __future__ import annotations

import base64
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.chaos.pictures import marked
from tests.chaos.scene import NAMES, Scene

EVENTS = "azure-webjobs-blobtrigger-chaos"


@dataclass(frozen=True)
class Drop:
    """One version of one source, identified by a unique mark in it."""

    name: str
    content: str
    etag: str


@dataclass
class Sources:
    """Write sources and events past the proxies.

    `wanted` is the content by name; None after a deletion. `drops` lists every upload by mark, and `asked_again` the
    time of each retry.
    """

    scene: Scene
    contents: dict[str, bytes]
    random: random.Random
    wanted: dict[str, str | None] = field(default_factory=dict)
    versions: dict[str, list[str]] = field(default_factory=dict)
    drops: dict[str, Drop] = field(default_factory=dict)
    asked_again: list[tuple[float, str]] = field(default_factory=list)
    retried: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._blobs = self.scene.account.async_blobs()
        self._queues = self.scene.account.async_queues()

    async def close(self) -> None:
        """Close the connections."""
        await self._blobs.close()
        await self._queues.close()

    async def drop(self, name: str, content: str) -> None:
        """Upload a source, and overwrite the old one."""
        mark = f"{name}#{len(self.versions.get(name, []))}"
        async with self.scene.writing:
            blob = self._blobs.get_blob_client(NAMES["PIPELINE_INPUT_CONTAINER"], name)
            written = await blob.upload_blob(marked(self.contents[content], mark), overwrite=True)
        etag = str(written["etag"]).strip('"')
        self.wanted[name] = content
        self.drops[mark] = Drop(name, content, etag)
        self.versions.setdefault(name, []).append(etag)

    async def delete(self, name: str) -> None:
        """Delete a source."""
        async with self.scene.writing:
            await self._blobs.get_blob_client(NAMES["PIPELINE_INPUT_CONTAINER"], name).delete_blob()
        self.wanted[name] = None

    def any_name(self) -> str:
        """Return the name of an existing source, mostly a recent one: its job may be running."""
        there = [name for name, content in self.wanted.items() if content and name.startswith("photos/0")]
        return self.random.choice(there[-12:] if self.random.random() < 0.8 else there)

    def any_content(self) -> str:
        """Return the next content: every tenth is invalid."""
        good, bad = [
            [name for name in self.contents if name.startswith("good") is is_good] for is_good in (True, False)
        ]
        return self.random.choice(bad if self.random.random() < 0.1 else good)

    async def event(self, name: str, etag: str) -> None:
        """Send the event of a blob, as the platform does."""
        about = {"FunctionId": "Host.Functions.image_uploaded", "BlobType": "BlockBlob", "ETag": etag}
        place = {"ContainerName": NAMES["PIPELINE_INPUT_CONTAINER"], "BlobName": name}
        await self._send(EVENTS, about | place)

    async def again(self, name: str) -> None:
        """Retry a job, as an operator does."""
        self.asked_again.append((time.time(), name))
        self.retried[name] += 1
        await self.message(name, again=True)

    async def message(self, name: str, **more: object) -> None:
        """Queue a job, as the pipeline does."""
        place = {"recipe": "web", "container": NAMES["PIPELINE_INPUT_CONTAINER"], "name": name}
        await self._send(NAMES["PIPELINE_JOB_QUEUE"], place | more)

    async def _send(self, queue: str, document: dict[str, object]) -> None:
        text = base64.b64encode(json.dumps(document).encode()).decode()
        async with self.scene.writing:
            await self._queues.get_queue_client(queue).send_message(text, time_to_live=-1)

    async def slots(self) -> list[dict[str, object]]:
        """Return the slots' documents."""
        container = self._blobs.get_container_client(NAMES["PIPELINE_STATE_CONTAINER"])
        names = [blob.name async for blob in container.list_blobs(name_starts_with="slots/")]
        read = [await (await container.download_blob(name)).readall() for name in names]
        return [json.loads(each) for each in read]


def job_id(name: str) -> str:
    """Return the pipeline's job id of a source."""
    row = f"input/{name}"
    row = "".join(char if char.isalnum() or char in "-_.~ " else f"!{ord(char):02X}" for char in row)
    return f"web.{base64.urlsafe_b64encode(row.encode()).decode().rstrip('=')}"
