"""End sessions outside of any job: those of all slots that no process holds, or the session of one slot."""

import time
from typing import Literal

from pipeline.errors import PoolFull
from pipeline.pool.client import PoolClient
from pipeline.pool.slot import Slot, SlotDocument, SlotDocuments, SlotState
from pipeline.settings import Settings


async def drain(settings: Settings, documents: SlotDocuments, client: PoolClient) -> int:
    """End every session that no process uses, so that it costs nothing more. Returns the number of ended sessions."""
    ended = 0
    for name in await documents.list_free(settings.pool_max_sessions):
        document = await documents.acquire(name)
        if document is not None:
            ended += await _empty(name, document, settings, client) == "emptied"
    return ended


async def end_idle_session(
    name: str, settings: Settings, documents: SlotDocuments, client: PoolClient
) -> Literal["emptied", "held", "nothing"]:
    """End the session of one slot.

    Returns:
        `emptied`: the session was ended. `held`: a process holds the slot. `nothing`: the slot has no known session.

    Raises:
        PoolFull: A session that could not be ended cools down in the slot.
    """
    document = await documents.acquire(name)
    if document is None:
        return "held"
    outcome = await _empty(name, document, settings, client)
    if outcome == "cooling":
        raise PoolFull(
            "the pool could not end this slot's session; try again after it has cooled down", kind="slot_cools_down"
        )
    return outcome


async def _empty(
    name: str, document: SlotDocument, settings: Settings, client: PoolClient
) -> Literal["emptied", "nothing", "cooling"]:
    """End the session of a leased slot and release the slot. A slot that cools down stays as it is."""
    slot = Slot.from_document(name, document, settings, client, time.monotonic())
    try:
        if slot.is_cooling_down:
            return "cooling"
        had_session = bool(slot.identifier)
        if had_session:
            await slot.session.end()
        slot.reset()
        await slot.write(SlotState.FREE)
        return "emptied" if had_session else "nothing"
    finally:
        await document.release()
