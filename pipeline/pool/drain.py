"""Ending sessions outside of any job: those of all slots that nobody holds, or the one of a certain slot."""

from __future__ import annotations

import time
from typing import Literal

from pipeline.errors import PoolFull
from pipeline.pool.client import PoolClient
from pipeline.pool.slot import Slot, SlotDocument, SlotDocuments
from pipeline.settings import Settings


async def drain(settings: Settings, documents: SlotDocuments, client: PoolClient) -> int:
    """End every session that no process is using, to stop paying for it: how many slots were emptied."""
    emptied = 0
    for name in await documents.list_free(settings.pool_max_sessions):
        document = await documents.acquire(name)
        if document is not None:
            emptied += await _empty(name, document, settings, client) == "emptied"
    return emptied


async def end_idle_session(
    name: str, settings: Settings, documents: SlotDocuments, client: PoolClient
) -> Literal["emptied", "held", "nothing"]:
    """End the session of one slot. `held`: a process holds it. `nothing`: it has no session, as far as one can know.

    PoolFull while a session that could not be ended cools down there.
    """
    document = await documents.acquire(name)
    if document is None:
        return "held"
    found = await _empty(name, document, settings, client)
    if found == "cooling":
        raise PoolFull("the pool could not end this slot's session, which cools down", kind="slot_cools_down")
    return found


async def _empty(
    name: str, document: SlotDocument, settings: Settings, client: PoolClient
) -> Literal["emptied", "nothing", "cooling"]:
    """End the session of a slot that is ours for that long. One that cools down may still be there, and stays."""
    slot = Slot.from_document(name, document, settings, client, time.monotonic())
    try:
        if slot.cooling:
            return "cooling"
        there = bool(slot.identifier)
        if there:
            await slot.session.end()
        slot.reset()
        await slot.write("free")
        return "emptied" if there else "nothing"
    finally:
        await document.release()
