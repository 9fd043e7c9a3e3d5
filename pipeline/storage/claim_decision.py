"""Decide whether a worker may claim a job, given the row that it has read, and make the row of the claim."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from pipeline.errors import OutdatedDeployment
from pipeline.storage.entry import Entry, Version
from pipeline.storage.former_renditions import committed

GENERATION_EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
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


def next_generation(generation: int, now: datetime) -> int:
    """Return the next generation. The first one of a row comes from the clock.

    So it is higher than those of a deleted row, whose renditions could otherwise never be replaced.
    """
    return generation + 1 if generation else (now - GENERATION_EPOCH) // timedelta(milliseconds=1)


def outdated_error(entry: Entry, deployment: int) -> OutdatedDeployment:
    """Return the error of a worker that may not claim the job of a newer deployment."""
    return OutdatedDeployment(
        f"the deployment {entry.deployment} of the app has processed this job, and this process belongs to the older "
        f"deployment {deployment}: deploy again, if this one is to be the active one"
    )


def claimed_row(fresh: Entry, entry: Entry | None, now: datetime, ttl: timedelta) -> Entry:
    """Return the row that claims the job; it replaces `entry` if there is one."""
    before = entry or fresh
    same = before.version == fresh.version
    retries_service = before.state == "failed" and bool(before.error_service) and fresh.run not in ("", before.run)
    return replace(
        fresh,
        generation=next_generation(before.generation, now),
        attempts=before.attempts if same else 0,
        service_seconds=before.service_seconds if same else 0.0,
        service_runs=before.service_runs + int(retries_service) if same else 0,
        run=fresh.run or before.run,
        deployment=max(fresh.deployment, before.deployment),
        since=now,
        expires=now + ttl,
        # A done job that a user retries is queued, and its row still lists its renditions.
        former=committed(before.renditions) or before.former,
        outputs=before.outputs,
        listed=before.listed,
        row_etag=before.row_etag,
    )
