"""How long so many jobs take in so many sessions: a simulation of seats and executions, driven by measured times."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Self

from pipeline.settings import Settings

# More jobs than this are not simulated one by one: what the last tenth of them took goes on. Where sessions serve so
# many that none is worn within LONGEST jobs, the starts of new ones are added by arithmetic.
MOST = 20_000
LONGEST = 500_000


@dataclass(frozen=True)
class Times:
    """What a job takes on its way through a session, in seconds: `execution` is its share of the session's time."""

    upload: float
    execution: float
    download: float


@dataclass(frozen=True)
class Pool:
    """What jobs run in. `start` is how long a new session takes, `jobs` after how many it makes way for a new one."""

    sessions: int
    depth: int = 2
    start: float = 4.0
    jobs: int = 200

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The whole pool, as far as one process may lease it."""
        sessions = min(settings.pool_max_sessions, settings.slots_per_process)
        return cls(sessions, settings.session_depth, jobs=settings.session_jobs)


def makespan(count: int, pool: Pool, times: Times) -> float:
    """Seconds from the first job's begin to the last one's end."""
    if count <= 0:
        return 0.0
    whole = max(MOST, 4 * pool.sessions * pool.jobs)
    simulated = min(count, whole, LONGEST)
    ends = _ends(simulated, pool, times)
    if count == simulated:
        return ends[-1]
    # Whole waves of sessions: a part of one would count as a whole one, over and over.
    tenth = max(1, simulated // 10 // pool.sessions) * pool.sessions
    pace = (ends[-1] - ends[-tenth - 1]) / tenth
    pace += pool.start / pool.jobs / pool.sessions if simulated < whole else 0
    return ends[-1] + (count - simulated) * pace


def _ends(count: int, pool: Pool, times: Times) -> list[float]:
    """When each job ends, in order. A job takes the seat that is free first; a session runs one job at a time."""
    seats = [(pool.start, session) for session in range(pool.sessions) for _ in range(pool.depth)]
    free_from, used = [0.0] * pool.sessions, [0] * pool.sessions
    heapq.heapify(seats)
    ends = []
    for _ in range(count):
        seat, session = heapq.heappop(seats)
        begins = max(seat + times.upload, free_from[session])
        free_from[session] = begins + times.execution
        end = free_from[session] + times.download
        used[session] += 1
        ends.append(end)
        # The next job of a session that is worn waits for a new one.
        worn = used[session] % pool.jobs == 0
        free_from[session] += pool.start if worn else 0
        heapq.heappush(seats, (end + (pool.start if worn else 0), session))
    return sorted(ends)
