"""Helpers for tests of the pool: jobs, slot documents, and a second process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from pipeline.pool.scheduler import SlotScheduler
from pipeline.storage import ClaimOptions
from pipeline.storage.leased_documents import LeasedDocuments
from pipeline.storage.ledger import Entry
from tests.images import image_bytes
from tests.stack import Stack

FIRST_SLOT = "slots/000.json"


async def process_image(stack: Stack, name: str = "photos/a.jpg", data: bytes | None = None) -> Entry:
    """Upload an image and process it, even if it was processed before."""
    services = stack.services
    await stack.upload(name, image_bytes(120, 90) if data is None else data)
    return await services.executor.execute(
        services.settings.input_container,
        name,
        services.recipes.get("web"),
        options=ClaimOptions(again=True),
    )


async def slot_documents(stack: Stack) -> list[dict[str, Any]]:
    """Return the content of all slot documents that were ever written."""
    container = stack.services.account.container(stack.services.settings.state_container)
    names = [blob.name async for blob in container.list_blobs(name_starts_with="slots/")]
    texts = [await (await container.download_blob(name)).readall() for name in names]
    return [json.loads(text) for text in texts if text != b"{}"]


async def slot_document(stack: Stack) -> dict[str, Any]:
    """Return the document of the only slot that names a session."""
    (document,) = [each for each in await slot_documents(stack) if each.get("identifier")]
    return document


def documents_of(stack: Stack) -> LeasedDocuments:
    """Return the slot documents as another process sees them."""
    settings = stack.services.settings
    return LeasedDocuments(stack.services.account, settings.state_container, "slots/", settings.slot_lease_duration)


def another_process(stack: Stack) -> SlotScheduler:
    """Create the scheduler of another process on the same storage and pool."""
    return SlotScheduler(stack.services.settings, documents_of(stack), stack.services.pool)


async def one_byte() -> AsyncIterator[bytes]:
    """Yield a source of one byte."""
    yield b"x"
