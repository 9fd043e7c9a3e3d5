"""Sources of a chaos test: uploads, overwrites, deletions and their events, with the expected result."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import re
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import ContentSettings

from tests.chaos.pictures import marked
from tests.chaos.scene import DEAD_LETTERS, NAMES, Scene

EVENTS = "azure-webjobs-blobtrigger-chaos"
Touch = Literal["metadata", "headers", "tags", "same content"]


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
    time of each retry. `touches` lists the writes that changed no content, by time and name.
    `requested` is the content of the images of requests, and `answered` holds those that the app has accepted.
    """

    scene: Scene
    contents: dict[str, bytes]
    random: random.Random
    wanted: dict[str, str | None] = field(default_factory=dict)
    versions: dict[str, list[str]] = field(default_factory=dict)
    drops: dict[str, Drop] = field(default_factory=dict)
    asked_again: list[tuple[float, str]] = field(default_factory=list)
    retried: Counter[str] = field(default_factory=Counter)
    touches: list[tuple[float, str]] = field(default_factory=list)
    requested: dict[str, str] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._blobs = self.scene.account.async_blobs()
        self._queues = self.scene.account.async_queues()

    async def close(self) -> None:
        """Close the connections."""
        await self._blobs.close()
        await self._queues.close()

    async def drop(self, name: str, content: str, *, event: bool = True) -> None:
        """Upload a source, and overwrite the old one. Without `event`, nothing tells the app."""
        mark = f"{name}#{len(self.versions.get(name, []))}"
        async with self.scene.writing:
            blob = self._blobs.get_blob_client(NAMES["PIPELINE_INPUT_CONTAINER"], name)
            written = await blob.upload_blob(marked(self.contents[content], mark), overwrite=True)
        etag = str(written["etag"]).strip('"')
        self.wanted[name] = content
        self.drops[mark] = Drop(name, content, etag)
        self.versions.setdefault(name, []).append(etag)
        if event:
            await self.event(name, etag)

    async def touch(self, name: str, what: Touch) -> None:
        """Write a source without a change of its content. Of these writes, only an upload raises an event."""
        blob = self._blobs.get_blob_client(NAMES["PIPELINE_INPUT_CONTAINER"], name)
        note = f"note {len(self.touches)}"
        self.touches.append((time.time(), name))
        async with self.scene.writing:
            if what == "metadata":
                await blob.set_blob_metadata({"note": note})
            elif what == "headers":
                await blob.set_http_headers(ContentSettings(content_type="image/jpeg", cache_control=note))
            elif what == "tags":
                await blob.set_blob_tags({"note": note})
            else:
                same = await (await blob.download_blob()).readall()
                await blob.upload_blob(same, overwrite=True)
        if what == "same content":
            await self.event(name, self.versions[name][-1])

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

    def good_content(self) -> str:
        """Return a valid content."""
        return self.random.choice([name for name in self.contents if name.startswith("good")])

    def new_name(self) -> str:
        """Return the name of a new source."""
        return f"photos/{len(self.wanted):04d}.jpg"

    async def event(self, name: str, etag: str, queue: str = EVENTS) -> None:
        """Send the event of a blob to the queue of the blob trigger, as the platform does, or to another queue."""
        about = {"FunctionId": "Host.Functions.image_uploaded", "BlobType": "BlockBlob", "ETag": etag}
        place = {"ContainerName": NAMES["PIPELINE_INPUT_CONTAINER"], "BlobName": name}
        await self._send(queue, about | place)

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
        client = self._queues.get_queue_client(queue)
        async with self.scene.writing:
            try:
                await client.send_message(text, time_to_live=-1)
            except ResourceNotFoundError:
                await client.create_queue()
                await client.send_message(text, time_to_live=-1)

    async def delete_queues(self, *names: str) -> None:
        """Delete queues with all their messages; all queues without names."""
        async with self.scene.writing:
            for name in names or [queue.name async for queue in self._queues.list_queues()]:
                with contextlib.suppress(ResourceNotFoundError):
                    await self._queues.delete_queue(name)

    async def empty_queue(self, name: str) -> None:
        """Delete all messages of a queue, as an operator does."""
        async with self.scene.writing:
            await self._queues.get_queue_client(name).clear_messages()

    async def dead_letter(self, name: str, *, cloud_event: bool = False, subscription: str = "IMAGE-UPLOADED") -> None:
        """Write the event of a blob as Event Grid does after it has given up the delivery."""
        kind, type_name = "Microsoft.Storage.BlobCreated", "type" if cloud_event else "eventType"
        subject = f"/blobServices/default/containers/{NAMES['PIPELINE_INPUT_CONTAINER']}/blobs/{name}"
        event = {"id": str(uuid.uuid4()), "subject": subject, type_name: kind, "deadLetterReason": "TimeToLiveExceeded"}
        await self.dead_letter_blob(json.dumps([event]).encode(), subscription)

    async def dead_letter_blob(self, content: bytes, subscription: str = "IMAGE-UPLOADED") -> None:
        """Write a blob into the dead-letter container, in Event Grid's layout."""
        name = f"{subscription}/2026/12/1/10/{uuid.uuid4()}.json"
        async with self.scene.writing:
            await self._blobs.get_blob_client(DEAD_LETTERS, name).upload_blob(content)

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


def source_of(job: str) -> str:
    """Return the name of the source of a job, of any recipe; for the image of a request, its file name."""
    text = job.partition(".")[2]
    row = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    container, _, name = re.sub("!([0-9A-F]{2})", lambda code: chr(int(code[1], 16)), row).partition("/")
    return name if container == NAMES["PIPELINE_INPUT_CONTAINER"] else name.rpartition("/")[2]
