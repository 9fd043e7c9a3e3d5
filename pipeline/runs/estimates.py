"""Estimate minutes, session-hours, storage transactions and money of a number of jobs, from measured job times.

The duration comes from a closed formula.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Self

from pydantic import BaseModel

from pipeline.pool.slot import TRUSTED_SESSION_MAX_JOBS
from pipeline.recipes import Recipe, Recipes
from pipeline.runs.selection import PAGE_SIZE
from pipeline.settings import Settings
from pipeline.storage import DEFAULT_SHARDS, MAX_PERIOD, MetricsStore, MinuteMetrics


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


# Times of a job if none was measured within the last two days: a photo of a few megabytes.
ASSUMED_TIMES = Times(upload=0.05, execution=0.4, download=0.05)
# Storage requests of a job besides its renditions: reading the source, the claim, the end.
REQUESTS_PER_JOB = 3
REQUESTS_PER_BATCH = 2
# One listing, the rows of the batches, and the run's document, besides a range read of each shard for each recipe.
REQUESTS_PER_PAGE = 4


class Estimate(BaseModel, frozen=True):
    """The expected duration and cost of a plan or a run.

    `timings` is the number of measured jobs behind it; with 0, the times are assumed. `money` holds `sessions`,
    `storage` and their sum `total`, in the currency of the price settings; function instances are not included.
    `minutes` assumes that the whole pool is free for the run.
    """

    minutes: float = 0
    sessions: int = 0
    session_hours: int = 0
    transactions: int = 0
    money: dict[str, float] = {}
    timings: int = 0

    @property
    def total(self) -> float:
        """The total cost, in the currency of the price settings."""
        return self.money.get("total", 0)


@dataclass(frozen=True)
class Measured:
    """Measured times of jobs by recipe, in seconds, the number of measured jobs, and the mean number of processes."""

    times: dict[str, Times]
    jobs: int
    processes: float = 1.0

    def of(self, recipe: str) -> Times:
        """Return the mean times of a recipe's jobs, or of all jobs if the recipe had none."""
        return self.times.get(recipe) or self.times.get("") or ASSUMED_TIMES


@dataclass(frozen=True)
class Estimator:
    """Estimate jobs of the recipe file from the metrics of the last two days."""

    settings: Settings
    recipes: Recipes
    metrics: MetricsStore

    async def measured(self) -> Measured:
        """Return the times of the jobs of the last two days."""
        return of_minutes(await self.metrics.minutes(datetime.now(UTC) - MAX_PERIOD + timedelta(minutes=1)))

    def estimate(self, jobs: Counter[str], renditions: Counter[str], measured: Measured) -> Estimate:
        """Estimate a number of jobs of each recipe; `renditions` is their total number by recipe."""
        return estimate(self.settings, jobs, renditions, measured, jobs_per_session(self.settings, self.recipes))

    def of_recipes(self, recipes: Sequence[Recipe], jobs: int, measured: Measured) -> Estimate:
        """Estimate a number of jobs that is spread evenly over the recipes."""
        shares = Counter({recipe.name: -(-jobs // len(recipes)) for recipe in recipes})
        renditions = Counter({recipe.name: shares[recipe.name] * len(recipe.renditions) for recipe in recipes})
        return self.estimate(shares, renditions, measured)


def of_minutes(minutes: list[MinuteMetrics]) -> Measured:
    """Return mean times over some minutes, for each recipe and, under an empty name, for all."""
    sums: dict[str, Counter[str]] = {}
    for minute in minutes:
        for name in (minute.recipe, ""):
            sums.setdefault(name, Counter()).update({**minute.ms, "": minute.timed})
    times = {name: _mean(each) for name, each in sums.items() if each[""]}
    busy = {minute.at: max(minute.processes, 1) for minute in minutes if minute.timed}
    processes = sum(busy.values()) / len(busy) if busy else 1.0
    return Measured(times, sums.get("", Counter())[""], processes)


def _mean(ms: Counter[str]) -> Times:
    count = ms[""] * 1000
    execution = ms["execution_share"] or ms["execute"]
    whole = sum(value for stage, value in ms.items() if stage not in ("", "execution_share"))
    return Times(ms["upload"] / count, execution / count, ms["download"] / count, whole / count)


def jobs_per_session(settings: Settings, recipes: Iterable[Recipe]) -> dict[str, int]:
    """Return the number of jobs after which a session is recycled, by recipe."""
    limits = {"single": 1, "trusted": TRUSTED_SESSION_MAX_JOBS}
    return {each.name: limits.get(each.isolation, settings.session_max_jobs) for each in recipes}


def estimate(
    settings: Settings,
    jobs: Counter[str],
    renditions: Counter[str],
    measured: Measured,
    session_max_jobs: Mapping[str, int] | None = None,
) -> Estimate:
    """Estimate a number of jobs of each recipe.

    Args:
        settings: The size of the pool, limits and prices.
        jobs: The number of jobs by recipe.
        renditions: The total number of renditions by recipe.
        measured: Measured times.
        session_max_jobs: The jobs that one session serves, by recipe (see `jobs_per_session`).
    """
    count = sum(jobs.values())
    if count == 0:
        return Estimate(timings=measured.jobs)
    times = _mean_times(jobs, measured)
    # The sessions that the jobs use up, and with that the mean number of jobs of a session.
    limits = session_max_jobs or {}
    used_up = sum(number / limits.get(recipe, settings.session_max_jobs) for recipe, number in jobs.items())
    pool = replace(Pool.of(settings, times), jobs=max(1, round(count / used_up)))
    seconds = duration(count, pool, times, settings.run_concurrency * measured.processes)
    sessions = min(pool.sessions, count)
    # Sessions are billed per started hour, and are recycled after a number of jobs or at their maximum age.
    lifetimes = max(ceil(round(used_up, 6)), sessions * ceil(seconds / settings.session_max_age))
    hours = max(lifetimes, sessions) * ceil(min(seconds, settings.session_max_age) / 3600)
    writes = renditions.total()
    others = (
        REQUESTS_PER_JOB * count
        + REQUESTS_PER_BATCH * ceil(count / settings.run_batch_size)
        + (REQUESTS_PER_PAGE + DEFAULT_SHARDS * len(jobs)) * ceil(count / PAGE_SIZE)
    )
    money = {
        "sessions": hours * settings.price_session_hour,
        "storage": writes / 10_000 * settings.price_writes + others / 10_000 * settings.price_operations,
    }
    money["total"] = sum(money.values())
    return Estimate(
        minutes=round(seconds / 60, 2),
        sessions=sessions,
        session_hours=hours,
        transactions=writes + others,
        money={name: round(value, 4) for name, value in money.items()},
        timings=measured.jobs,
    )


def _mean_times(jobs: Counter[str], measured: Measured) -> Times:
    """Return the times of the mean job."""
    total = jobs.total()
    weighted = [(measured.of(recipe), count / total) for recipe, count in jobs.items()]
    return Times(
        sum(times.upload * share for times, share in weighted),
        sum(times.execution * share for times, share in weighted),
        sum(times.download * share for times, share in weighted),
        sum(times.whole * share for times, share in weighted),
    )


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
