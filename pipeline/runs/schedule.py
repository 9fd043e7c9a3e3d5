"""Round positions of the scheduled runs: one stored document, which each scheduled run replaces after its last page."""

from collections.abc import Mapping
from typing import Any

from pipeline.runs.rounds import Night, Round
from pipeline.storage import RunStore

# The key of the document beside that of the schedule.
ROUNDS_KEY = "rounds"


async def load_rounds(store: RunStore, prefix: str) -> tuple[int, dict[str, Round]]:
    """Return the number of the next night, and the rounds by reason group.

    Without positions for this prefix of source names, all rounds start anew.
    """
    document = await store.get("schedule", ROUNDS_KEY)
    if document is None or not document.content:
        return 1, {}
    rounds = document.content["rounds"] if document.content["prefix"] == prefix else {}
    return document.content["night"] + 1, {group: Round.model_validate(each) for group, each in rounds.items()}


async def save_rounds(store: RunStore, prefix: str, night: Night) -> None:
    """Store the rounds as a night leaves them, unless a later night has done so already."""
    content = {"night": night.number, "prefix": prefix, "rounds": _stored(night.next_rounds)}
    while True:
        before = await store.get("schedule", ROUNDS_KEY)
        if before and before.content.get("night", 0) > night.number:
            return
        written = await (
            store.replace("schedule", ROUNDS_KEY, before, content)
            if before
            else store.create("schedule", ROUNDS_KEY, content)
        )
        if written:
            return


def _stored(rounds: Mapping[str, Round]) -> dict[str, Any]:
    return {group: each.model_dump(mode="json", exclude_defaults=True) for group, each in rounds.items()}
