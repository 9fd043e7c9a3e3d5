"""Round positions of the scheduled runs: one stored document, which each scheduled run replaces after its last page."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipeline.runs.rounds import Night, Round
from pipeline.storage import RunStore

# The key of the document beside that of the schedule.
ROUNDS_KEY = "rounds"
_ROUNDS = TypeAdapter(dict[str, Round])


async def load_rounds(store: RunStore, prefix: str) -> tuple[int, dict[str, Round]]:
    """Return the number of the next night, and the rounds by reason group.

    Without positions for this prefix of source names, or with unreadable ones, all rounds start anew.
    """
    document = await store.get("schedule", ROUNDS_KEY)
    content = document.content if document else {}
    number = _night_of(content) + 1
    if content.get("prefix") != prefix:
        return number, {}
    try:
        return number, _ROUNDS.validate_python(content.get("rounds"))
    except ValidationError:  # after an edit by hand
        return number, {}


async def save_rounds(store: RunStore, prefix: str, night: Night) -> None:
    """Store the rounds as a night leaves them, unless a later night has done so already."""
    content = {"night": night.number, "prefix": prefix, "rounds": _stored(night.next_rounds)}
    while True:
        before = await store.get("schedule", ROUNDS_KEY)
        if before and _night_of(before.content) > night.number:
            return
        written = await (
            store.replace("schedule", ROUNDS_KEY, before, content)
            if before
            else store.create("schedule", ROUNDS_KEY, content)
        )
        if written:
            return


def _night_of(content: Mapping[str, Any]) -> int:
    number = content.get("night")
    return number if isinstance(number, int) else 0


def _stored(rounds: Mapping[str, Round]) -> dict[str, Any]:
    return {group: each.model_dump(mode="json", exclude_defaults=True) for group, each in rounds.items()}
