"""Ending the sessions of all slots that nobody holds: before a pool is taken away, or to stop paying for idle ones."""

from __future__ import annotations

import time

from pipeline.sessions.client import PoolClient
from pipeline.sessions.slot import Documents, Slot
from pipeline.settings import Settings


async def drain(settings: Settings, documents: Documents, client: PoolClient) -> int:
    """End every session that no process is using: how many slots were emptied."""
    emptied = 0
    for name in await documents.free(settings.pool_max_sessions):
        document = await documents.take(name)
        if document is None:
            continue
        slot = Slot.found(name, document, settings, client, time.monotonic())
        try:
            if slot.cooling:
                continue  # its session may still be there, and counts until the time that the document says
            if slot.identifier:
                await slot.session.end()
                emptied += 1
            await document.write({"state": "free", "generation": slot.generation})
        finally:
            await document.release()
    return emptied
