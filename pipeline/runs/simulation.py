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
    """What a job takes, in seconds: on its way through a session, of whose time `execution` is its share.

    `whole` is from its first stage to its last, with all that it waited for; 0 when nobody knows.
    """

    upload: float
    execution: float
    download: float
    whole: float = 0.0


@dataclass(frozen=True)
class Pool:
    """What jobs run in. A session has so many `seats`: jobs under way in it at once, of which one runs at a time.

    `start` is how long a new session takes, `jobs` after how many it makes way for a new one.
    """

    sessions: int
    seats: int = 2
    start: float = 4.0
    jobs: int = 200

    @classmethod
    def of(cls, settings: Settings, times: Times) -> Self:
        """The whole pool, as far as one process may lease it. Where jobs are short, a session has seats for more."""
        sessions = min(settings.pool_max_sessions, settings.max_slots_per_process)
        together = (
            settings.microbatch_max_seconds / times.execution if times.execution else settings.microbatch_max_jobs
        )
        seats = settings.session_concurrency * max(1, min(settings.microbatch_max_jobs, int(together)))
        return cls(sessions, seats, jobs=settings.session_max_jobs)


def duration(count: int, pool: Pool, times: Times, at_once: float) -> float:
    """Seconds that a run takes whose processes have so many jobs under way at once.

    Sessions are one thing that may be the narrowest. All that is around them are the other: while `at_once` jobs are
    under way and each takes `whole`, they end at that rate (Little's law), whatever it is that they wait for.
    """
    return max(makespan(count, pool, times), count * times.whole / max(1.0, at_once))


def makespan(count: int, pool: Pool, times: Times) -> float:
    """Seconds from the first job's begin to the last one's end, with nothing but sessions in the way."""
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
    seats = [(pool.start, session) for session in range(pool.sessions) for _ in range(pool.seats)]
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
