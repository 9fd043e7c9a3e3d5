"""Decide whether a worker may claim a job, given the row that it has read."""

from datetime import datetime
from typing import Literal

from pipeline.storage.entry import Entry, Version

Verdict = Literal["take", "confirm", "done", "failed", "dismissed", "busy", "outdated"]


def decide_claim(
    entry: Entry | None,
    version: Version,
    now: datetime,
    *,
    again: bool,
    seen: int | None = None,
    deployment: int = 0,
) -> Verdict:
    """Decide whether a worker may claim a job, given the row that it has read.

    An ended job may be claimed again if this process has a newer decoder for the format of its source.

    Args:
        entry: The job's row, or None.
        version: The version of the source and the recipe that the worker holds.
        now: The current time.
        again: Execute a job that has ended.
        seen: The generation that the sender of the job had seen: the same message, delivered twice, counts once.
        deployment: The deployment number of the worker.

    Returns:
        `take` to claim the job, `confirm` to claim it if the worker's version is still the current one, `busy` if
        another worker holds the claim, `outdated` if only a newer deployment may claim it, otherwise the state in which
        the job has ended.
    """
    if entry is None:
        return "take"
    if entry.is_of_newer(deployment, version.recipe_hash):
        return _decide_of_newer(entry, version, now, again=again and (seen is None or entry.generation <= seen))
    if entry.version != version:
        return "confirm"
    if entry.state == "running" and entry.expires > now:
        return "busy"
    if again and (seen is None or entry.generation <= seen):
        return "take"
    if entry.state == "dismissed" or (entry.state in ("done", "failed") and not entry.decoder_outdated):
        return entry.state
    return "take"


def _decide_of_newer(entry: Entry, version: Version, now: datetime, *, again: bool) -> Verdict:
    """Decide about a job that a newer deployment has processed or claimed: its result stands."""
    if entry.state == "running" and entry.expires > now:
        return "busy"
    if entry.state in ("done", "failed", "dismissed") and entry.version.etag == version.etag and not again:
        return entry.state
    return "outdated"
