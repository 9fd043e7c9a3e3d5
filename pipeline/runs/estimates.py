"""Estimate minutes, session-hours, storage transactions and money of a number of jobs, from measured job times.

The duration comes from a closed formula.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Self

from pydantic import BaseModel

from pipeline.pool.billing import HOUR_SECONDS
from pipeline.pool.slot import END_MARGIN_SECONDS, SHARED, TRUSTED, TRUSTED_SESSION_MAX_JOBS
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


# A new session takes this long to start.
SESSION_START_SECONDS = 4.0


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
    start: float = SESSION_START_SECONDS
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
# The reservation of an hour, and the writes of the slot's document.
REQUESTS_PER_SESSION = 4
# A tenth more sessions than the jobs need, as some end early.
SPARE_SESSIONS = 1.1
# An instance of the template executes this many jobs at once, and has this memory unless the settings name another.
JOBS_PER_INSTANCE, ASSUMED_MEMORY_MIB = 16, 2048
# One listing, the rows of the batches, and the run's document, besides a range read of each shard for each recipe.
REQUESTS_PER_PAGE = 4


class Estimate(BaseModel, frozen=True):
    """The expected duration of a plan or a run, and an upper bound of its session-hours and cost.

    `timings` is the number of measured jobs behind it; with 0, the times are assumed. `money` holds `sessions`,
    `functions`, `storage` and their sum `total`, in the currency of the price settings; `unpriced` is the reason if
    `sessions` is not included. `planned` are the hours of sessions that several jobs share, by label. `minutes` assumes
    that the whole pool is free for the run.
    """

    minutes: float = 0
    sessions: int = 0
    session_hours: int = 0
    transactions: int = 0
    gb_seconds: int = 0
    money: dict[str, float] = {}
    unpriced: str = ""
    timings: int = 0
    planned: dict[str, int] = {}

    @property
    def total(self) -> float:
        """The total cost, in the currency of the price settings."""
        return self.money.get("total", 0)

    def scaled(self, factor: float) -> Self:
        """Return the estimate of that many times as many jobs."""
        return self.model_copy(
            update={
                "session_hours": ceil(self.session_hours * factor),
                "money": {name: round(value * factor, 4) for name, value in self.money.items()},
                "planned": {label: ceil(hours * factor) for label, hours in self.planned.items()},
            }
        )

    @property
    def without_sessions(self) -> float:
        """The cost of everything but sessions, in the currency of the price settings."""
        return self.total - self.money.get("sessions", 0)


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

    def estimate(
        self,
        jobs: Counter[str],
        renditions: Counter[str],
        measured: Measured,
        tenant_sessions: int | None = None,
    ) -> Estimate:
        """Estimate a number of jobs of each recipe; `renditions` is their total number by recipe.

        Without the number of sessions that their tenants need, each job of a `tenant` recipe counts as a tenant.
        """
        isolation = {recipe.name: recipe.isolation for recipe in self.recipes}
        return estimate(self.settings, jobs, renditions, measured, isolation, tenant_sessions)

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


def estimate(
    settings: Settings,
    jobs: Counter[str],
    renditions: Counter[str],
    measured: Measured,
    isolation: Mapping[str, str] | None = None,
    tenant_sessions: int | None = None,
) -> Estimate:
    """Estimate a number of jobs of each recipe.

    Args:
        settings: The size of the pool, limits and prices.
        jobs: The number of jobs by recipe.
        renditions: The total number of renditions by recipe.
        measured: Measured times.
        isolation: The isolation level by recipe; `shared` by default.
        tenant_sessions: The number of sessions that the tenants need (see `tenant_sessions`); by default, each job of
            a `tenant` recipe needs one.
    """
    count = sum(jobs.values())
    if count == 0:
        return Estimate(timings=measured.jobs)
    times = _mean_times(jobs, measured)
    need = SessionNeed.of(settings, jobs, measured, isolation or {}, tenant_sessions)
    pool = replace(Pool.of(settings, times), jobs=max(1, round(count / need.used_up)))
    seconds = duration(count, pool, times, settings.run_concurrency * measured.processes)
    sessions = min(pool.sessions, count)
    instances = max(measured.processes, ceil(sessions * settings.session_concurrency / JOBS_PER_INSTANCE))
    planned = need.planned(settings, seconds, ceil(instances))
    hours = need.alone + sum(planned.values())
    if planned and need.alone + len(planned) > 1:
        # Sessions end for jobs of other labels. Then each instance opens further ones, so that its jobs go on.
        hours = min(count, ceil(round((hours + len(planned) * ceil(instances)) * SPARE_SESSIONS, 6)))
    writes = renditions.total()
    others = (
        REQUESTS_PER_JOB * count
        + REQUESTS_PER_BATCH * ceil(count / settings.run_batch_size)
        + (REQUESTS_PER_PAGE + DEFAULT_SHARDS * len(jobs)) * ceil(count / PAGE_SIZE)
        + REQUESTS_PER_SESSION * hours
    )
    gb_seconds = ceil(instances * seconds * (settings.instance_memory_mib or ASSUMED_MEMORY_MIB) / 1024)
    money = {
        "sessions": hours * settings.price_session_hour,
        "functions": gb_seconds * settings.price_gb_second,
        "storage": writes / 10_000 * settings.price_writes + others / 10_000 * settings.price_operations,
    }
    if not settings.caps_cost:
        del money["sessions"]
    money["total"] = sum(money.values())
    return Estimate(
        minutes=round(seconds / 60, 2),
        sessions=sessions,
        session_hours=hours,
        transactions=writes + others,
        gb_seconds=gb_seconds,
        money={name: round(value, 4) for name, value in money.items()},
        unpriced=settings.uncapped_reason,
        timings=measured.jobs,
        planned=planned,
    )


@dataclass(frozen=True)
class SessionNeed:
    """The sessions that jobs need.

    Attributes:
        alone: Sessions of `single` jobs and of tenants.
        shared: Jobs by label of the sessions that they share.
        shares: The share of all work of the sessions, by label.
        used_up: Sessions that the jobs use up.
    """

    alone: int
    shared: Mapping[str, int]
    shares: Mapping[str, float]
    used_up: float

    @classmethod
    def of(
        cls,
        settings: Settings,
        jobs: Counter[str],
        measured: Measured,
        isolation: Mapping[str, str],
        tenant_sessions: int | None,
    ) -> Self:
        """Count the jobs by isolation level, and the seconds in which they keep a session busy."""
        counts, work = Counter[str](), Counter[str]()
        for recipe, number in jobs.items():
            level = isolation.get(recipe, SHARED)
            counts[level] += number
            work[level] += number * measured.of(recipe).execution  # type: ignore[assignment]  # a Counter of floats
        tenants = counts["tenant"]
        if tenant_sessions is not None:
            tenants = min(tenants, ceil(round(tenant_sessions * SPARE_SESSIONS, 6)))
        work["single"] += counts["single"] * SESSION_START_SECONDS  # type: ignore[assignment]
        work["tenant"] += tenants * SESSION_START_SECONDS  # type: ignore[assignment]
        shared = {level: counts[level] for level in (SHARED, TRUSTED) if counts[level]}
        total = sum(work.values()) or 1
        used_up = sum(number / max_jobs(settings, label) for label, number in shared.items())
        alone = counts["single"] + tenants
        return cls(alone, shared, {label: work[label] / total for label in shared}, alone + used_up)

    def planned(self, settings: Settings, seconds: float, instances: int) -> dict[str, int]:
        """Return the hours of shared sessions, by label, if the jobs take so long.

        All sessions of the pool start, divided by the work of the labels, and each instance has one. They are replaced
        by age, or after a number of jobs. As they end at different times, some more start before the last jobs end.
        """
        lifetime = min(settings.session_max_age, HOUR_SECONDS - settings.job_timeout - END_MARGIN_SECONDS)
        planned = {}
        for label, number in self.shared.items():
            width = min(number, ceil(settings.pool_max_sessions * self.shares[label]))
            least = max(ceil(number / max_jobs(settings, label)), width * ceil(seconds / lifetime), instances)
            planned[label] = min(number, ceil(round(least * SPARE_SESSIONS, 6)))
        return planned


def max_jobs(settings: Settings, label: str) -> int:
    """Return the number of jobs after which a session with that label is recycled."""
    return TRUSTED_SESSION_MAX_JOBS if label == TRUSTED else settings.session_max_jobs


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
