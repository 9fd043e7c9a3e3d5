"""Requests for a slot: priority, fairness key, and the job that waits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from pipeline.pool.batching import Estimate, no_estimate

S = TypeVar("S")
Priority = Literal["interactive", "upload", "run"]
PRIORITIES: tuple[Priority, ...] = ("interactive", "upload", "run")


@dataclass(frozen=True)
class JobLabel:
    """What a job is, for those who look at the pool: a recipe, and the source's container and name."""

    recipe: str
    container: str
    name: str


@dataclass(eq=False)
class SlotRequest(Generic[S]):
    """A job that asks for a seat.

    `label` says with whom it may share a session (None: nobody), `group` among whom seats are shared out evenly (a
    recipe, a run). `size` is the source's in bytes, `since` when it got its seat.
    """

    label: str | None = "shared"
    priority: Priority = "upload"
    fairness_key: str = ""
    size: int = 0
    estimate: Estimate = no_estimate
    job_label: JobLabel | None = None
    since: float = 0.0
    slot: asyncio.Future[S] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
