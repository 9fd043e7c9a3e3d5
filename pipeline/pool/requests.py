"""Requests for a slot: priority, fairness key, isolation label, and the job that waits."""

import asyncio
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from pipeline.pool.batching import Estimate, no_estimate

S = TypeVar("S")
Priority = Literal["interactive", "upload", "run"]
PRIORITIES: tuple[Priority, ...] = ("interactive", "upload", "run")


@dataclass(frozen=True)
class JobLabel:
    """Label of a job on status pages: its recipe, and its source's container and blob name."""

    recipe: str
    container: str
    name: str


@dataclass(eq=False)
class SlotRequest(Generic[S]):
    """Request of one job for a slot.

    Attributes:
        label: Isolation label. Jobs share a session only with jobs of the same label; None shares with no job.
        priority: Scheduling class: interactive requests first, then uploads, then bulk runs.
        fairness_key: Jobs with different keys (a recipe, a run) take turns within a priority.
        size: Size of the source in bytes.
        estimate: Returns the job's expected seconds inside a session.
        job_label: Label for status pages.
        packed: Jobs of this label that a session is to have before the job opens a further one.
        started: Seconds since 1970 at which the job got its slot; 0 while it waits.
        slot: Resolves to the assigned slot.
    """

    label: str | None = "shared"
    priority: Priority = "upload"
    fairness_key: str = ""
    size: int = 0
    estimate: Estimate = no_estimate
    job_label: JobLabel | None = None
    packed: int = 1
    started: float = 0.0
    slot: asyncio.Future[S] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def run(self) -> str:
        """Id of the run of the job; empty for other jobs."""
        return self.fairness_key if self.priority == "run" else ""
