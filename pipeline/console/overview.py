"""The overview: what needs attention first, then how it goes, in figures that refresh themselves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import azure.functions as func
from markupsafe import Markup

from pipeline.api import pool
from pipeline.api.health import health
from pipeline.api.links import Links
from pipeline.console import charts
from pipeline.console.alerts import State, alerts
from pipeline.console.cache import known, lately
from pipeline.console.failures import grouped
from pipeline.console.jobs import COLOURS, stages_of
from pipeline.console.pool import split
from pipeline.console.request import ConsoleRequest
from pipeline.storage.metrics import MinuteMetrics

SPANS = {1: 1, 6: 5, 24: 20}
"""Hours that can be shown, and the minutes of a column."""
RECENT = 5
HEALTH_EVERY = 30.0


@dataclass(frozen=True)
class Figures:
    """The figures of a span, summed up."""

    minutes: Sequence[MinuteMetrics]
    hours: int
    now: datetime

    def total(self, name: str) -> int:
        """A count over the whole span."""
        return sum(getattr(each, name) for each in self.minutes)

    @property
    def rate(self) -> float:
        """Images per minute, done in the last full minutes."""
        ends = self.now.replace(second=0, microsecond=0)
        recent = [each.done for each in self.minutes if ends - timedelta(minutes=RECENT) <= each.at < ends]
        return sum(recent) / RECENT

    @property
    def stages(self) -> list[tuple[str, str, float]]:
        """Mean milliseconds per image: the stage, its colour, the time."""
        sums, timed = Counter[str](), self.total("timed")
        for each in self.minutes:
            sums.update(each.ms)
        found = stages_of(sums) if timed else {}
        return [(name, COLOURS[name], ms / timed) for name, ms in found.items()]

    @property
    def recipes(self) -> list[tuple[str, int, int]]:
        """Each recipe's jobs done and failed, the busiest first."""
        done, failed = Counter[str](), Counter[str]()
        for each in self.minutes:
            done[each.recipe] += each.done
            failed[each.recipe] += each.failed
        names = sorted(done | failed, key=lambda name: -(done[name] + failed[name]))
        return [(name, done[name], failed[name]) for name in names]

    def chart(self) -> Markup:
        """Images by the minute, or by some minutes."""
        step = SPANS[self.hours]
        count = self.hours * 60 // step
        start = self.now.replace(second=0, microsecond=0) - timedelta(minutes=count * step - 1)
        done, failed = [0.0] * count, [0.0] * count
        for each in self.minutes:
            place = int((each.at - start) / timedelta(minutes=step))
            if 0 <= place < count:
                done[place] += each.done
                failed[place] += each.failed
        moments = [start + timedelta(minutes=i * step) for i in range(count)]
        series = [charts.Series("done", "c1", done), charts.Series("failed", "c2", failed)]
        return charts.columns("Images", moments, series)


async def show(visit: ConsoleRequest) -> func.HttpResponse:
    """`GET` of the console itself."""
    services = visit.services
    hours = int(visit.query["hours"]) if visit.query.get("hours") in {str(each) for each in SPANS} else 1
    now = datetime.now(UTC)
    ledger = services.ledger
    since = now - timedelta(hours=hours)
    # All at once: the page takes as long as the slowest of them.
    (minutes, groups, (recent, _)), (slots, waiting, oldest, (latest, _)) = await asyncio.gather(
        asyncio.gather(
            lately(ledger, f"minutes {hours}", lambda: ledger.metrics.minutes(since)),
            grouped(services),
            ledger.page(limit=8),
        ),
        asyncio.gather(
            pool.overview(services, Links()),
            services.job_queue.length(),
            services.job_queue.oldest(),
            services.runs.list_runs(limit=1),
        ),
    )
    told = known(ledger, "health", lambda: health(services), HEALTH_EVERY)
    unwell = [each for each in told.dependencies if not each.well] if told else []
    run = next((each for each in latest if each.state == "working"), None)
    figures = Figures(minutes, hours, now)
    ended = (figures.total("done"), figures.total("failed"))
    state = State(*ended, waiting, oldest, slots, groups, run, unwell, bool(recent), now)
    return visit.page(
        "overview.html",
        figures=figures,
        pool=slots,
        split=split(slots),
        waiting=waiting,
        oldest=oldest,
        recent=recent,
        needs=alerts(state),
        spans=list(SPANS),
        hours=hours,
        now=now,
        input_container=services.settings.input_container,
    )
