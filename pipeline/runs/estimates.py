"""What a number of jobs takes: minutes, session-hours, storage transactions, money. From what jobs took before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import ceil

from pydantic import BaseModel, ConfigDict

from pipeline.pool.slot import TRUSTED_SESSION_MAX_JOBS
from pipeline.recipes import Recipe
from pipeline.runs.simulation import Pool, Times, duration
from pipeline.services import Services
from pipeline.settings import Settings
from pipeline.storage.metrics import LONGEST, MinuteMetrics

# What is taken for a job where none has been timed within the last two days: a photo of some megabytes.
ASSUMED = Times(upload=0.05, execution=0.4, download=0.05)
# The requests of a job beside its renditions: reading the source, the claim, the end.
PER_JOB = 3
PER_BATCH = 2
# A page of sources is one listing, a look into the ledger per recipe, the batches' rows and the run's own document.
PER_PAGE = 5


class Estimate(BaseModel):
    """What a plan or a run is expected to take. `timings` says from how many jobs; with 0 they are assumed.

    `money` is `sessions` and `storage` and their sum, in the currency of the price settings; function instances are
    not in it. `minutes` assumes that the whole pool is free for it.
    """

    model_config = ConfigDict(frozen=True)

    minutes: float = 0
    sessions: int = 0
    session_hours: int = 0
    transactions: int = 0
    money: dict[str, float] = {}
    timings: int = 0

    @property
    def total(self) -> float:
        """The money, summed up."""
        return self.money.get("total", 0)


@dataclass(frozen=True)
class Measured:
    """How long jobs took, by recipe (seconds), how many were timed, and in how many processes at a time."""

    times: dict[str, Times]
    jobs: int
    processes: float = 1.0

    def of(self, recipe: str) -> Times:
        """The times of a recipe's jobs, or those of all jobs where it had none."""
        return self.times.get(recipe) or self.times.get("") or ASSUMED


async def measured(services: Services) -> Measured:
    """What the jobs of the last two days took."""
    minutes = await services.ledger.stats.minutes(datetime.now(UTC) - LONGEST + timedelta(minutes=1))
    return of_minutes(minutes)


def of_minutes(minutes: list[MinuteMetrics]) -> Measured:
    """Means over some minutes, for each recipe and (under an empty name) for all."""
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
    """After how many jobs of each recipe a session makes way for a new one."""
    most = {"single": 1, "trusted": TRUSTED_SESSION_MAX_JOBS}
    return {each.name: most.get(each.isolation, settings.session_max_jobs) for each in recipes}


def estimate(
    settings: Settings,
    jobs: Counter[str],
    renditions: Counter[str],
    known: Measured,
    served: Mapping[str, int] | None = None,
) -> Estimate:
    """What so many jobs of each recipe take.

    `renditions` are how many they make in all, `served` how many one session takes (see `serves`), both by recipe.
    """
    count = sum(jobs.values())
    if count == 0:
        return Estimate(timings=known.jobs)
    times = _mixed(jobs, known)
    # So many sessions are worn by jobs, which leaves each so many of them.
    worn = sum(number / (served or {}).get(recipe, settings.session_max_jobs) for recipe, number in jobs.items())
    pool = replace(Pool.of(settings, times), jobs=max(1, round(count / worn)))
    seconds = duration(count, pool, times, settings.run_concurrency * known.processes)
    sessions = min(pool.sessions, count)
    # A session is paid by the hour that has begun, and is a new one after so many jobs or so long.
    lives = max(ceil(round(worn, 6)), sessions * ceil(seconds / settings.session_max_age))
    hours = max(lives, sessions) * ceil(min(seconds, settings.session_max_age) / 3600)
    writes = renditions.total()
    others = PER_JOB * count + PER_BATCH * ceil(count / settings.run_batch_size) + PER_PAGE * ceil(count / 1000)
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
        timings=known.jobs,
    )


def _mixed(jobs: Counter[str], known: Measured) -> Times:
    """The mean job."""
    total = jobs.total()
    each = [(known.of(recipe), count / total) for recipe, count in jobs.items()]
    return Times(
        sum(times.upload * share for times, share in each),
        sum(times.execution * share for times, share in each),
        sum(times.download * share for times, share in each),
        sum(times.whole * share for times, share in each),
    )
