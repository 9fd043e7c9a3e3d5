"""Estimate the duration of a run from measured job times, by a closed formula."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Self

from pipeline.settings import Settings


@dataclass(frozen=True)
class Times:
    """Times of a job in seconds: upload, its share of an execution, and download.

    `whole` is the time from its first stage to its last, waiting included; 0 if it is unknown.
    """

    upload: float
    execution: float
    download: float
    whole: float = 0.0


@dataclass(frozen=True)
class Pool:
    """The sessions of a run.

    Attributes:
        sessions: The number of sessions.
        concurrency: The jobs in a session at once; one of them executes, the others upload or download.
        start: Seconds that a new session takes to start.
        jobs: The number of jobs after which a session is recycled.
    """

    sessions: int
    concurrency: int = 2
    start: float = 4.0
    jobs: int = 200

    @classmethod
    def of(cls, settings: Settings, times: Times) -> Self:
        """Return the whole pool, as far as one process may lease it; microbatches raise the concurrency."""
        sessions = min(settings.pool_max_sessions, settings.max_slots_per_process)
        limit = settings.microbatch_max_jobs
        microbatch = min(limit, int(settings.microbatch_max_seconds / times.execution)) if times.execution else limit
        return cls(sessions, settings.session_concurrency * max(1, microbatch), jobs=settings.session_max_jobs)


def duration(count: int, pool: Pool, times: Times, max_running: float) -> float:
    """Return the seconds that a run of `count` jobs takes whose processes have `max_running` jobs at once.

    Either the sessions or the processes are the bottleneck. By Little's law, processes complete `max_running` jobs per
    `whole` seconds, and it does not matter for which resource these jobs wait.
    """
    return max(session_seconds(count, pool, times), count * times.whole / max(1.0, max_running))


def session_seconds(count: int, pool: Pool, times: Times) -> float:
    """Return the seconds that the sessions need for `count` jobs.

    Each session starts, executes its share of the jobs one at a time while others are transferred, and is recycled
    after `pool.jobs` jobs. This is at most 6 % below a simulation that assigns each job to the least busy session.
    """
    if count <= 0:
        return 0.0
    share = ceil(count / pool.sessions)
    transfer = times.upload + times.download
    rounds = ceil(share / pool.concurrency)
    busy = max(transfer + share * times.execution, rounds * (transfer + times.execution))
    return pool.start * ceil(share / pool.jobs) + busy
