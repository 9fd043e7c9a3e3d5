"""Session-hours: reserve each hour of a session before it starts, so that no cap on the cost is passed.

One document counts the hours of a month, and one those of each run. They are changed by conditional writes only, so
that all processes together never reserve more than a cap allows. The wishes of a process share a write. A killed
process leaves hours reserved that its sessions do not use: the counts are never too low.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from typing import Literal

from pipeline.errors import CostCapReached
from pipeline.pool.hours import HourAccount
from pipeline.settings import Settings, variable
from pipeline.storage import Document, RunStore
from pipeline.telemetry import logger

log = logger(__name__)
# Jobs that the cap of the month delays return after this time. Until then this process asks for no hour.
MONTH_PAUSE_SECONDS = 60.0
# Counters of this many runs are kept in memory.
MAX_RUNS = 200
Grant = Literal["reserved", "refused", "planned"]
"""Answer to a wish. `planned`: the sessions that the run planned are open, and this process has one: use that."""


@dataclass(frozen=True)
class RunHours:
    """Hours of one run.

    Attributes:
        limit: Maximum number of hours; None without a cap.
        planned: Planned hours of sessions that several jobs share, by label. While a process has a session of that
            label, the run opens no further one there.
        reserved: Hours reserved so far.
        opened: Hours reserved so far, by label, for the labels of `planned`.
    """

    limit: int | None = None
    planned: Mapping[str, int] = field(default_factory=dict)
    reserved: int = 0
    opened: Mapping[str, int] = field(default_factory=dict)


@dataclass(eq=False)
class _Wish:
    """A wish for hours; a negative number returns hours. With `soft`, the process has a session of this label."""

    hours: int
    label: str
    soft: bool
    forced: bool
    grant: asyncio.Future[Grant]


class HourCounter:
    """One document of reserved hours."""

    def __init__(self, store: RunStore, key: str, limit: int | None, *, keeps_limit: bool) -> None:
        """Open the document of that key. If it `keeps_limit`, its own limit comes before `limit`."""
        self._store, self._key, self._limit, self._keeps_limit = store, key, limit, keeps_limit
        self._document: Document | None = None
        self._wishes: list[_Wish] = []
        self._writer: asyncio.Task[None] | None = None

    @property
    def last_known(self) -> RunHours:
        """The hours as last read or written by this process."""
        content = self._document.content if self._document else {}
        known = {name: content[name] for name in vars(RunHours()) if name in content}
        return RunHours(**({"limit": self._limit, **known} if self._keeps_limit else {**known, "limit": self._limit}))

    async def change(self, hours: int, label: str = "", *, soft: bool = False, forced: bool = False) -> Grant:
        """Reserve or return hours. With `forced`, the limit does not count. Raises PipelineError if storage fails."""
        wish = _Wish(hours, label, soft, forced, asyncio.get_running_loop().create_future())
        self._wishes.append(wish)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return await wish.grant

    async def read(self) -> RunHours:
        """Read the document."""
        await self._read()
        return self.last_known

    async def create(self, hours: RunHours) -> None:
        """Write the document, unless it exists."""
        await self._read()
        if self._document is None:
            await self._replace(hours)

    async def update(self, change: Callable[[RunHours], RunHours]) -> RunHours:
        """Change the document by optimistic concurrency."""
        while True:
            await self._read()
            if await self._replace(changed := change(self.last_known)):
                return changed

    async def _write(self) -> None:
        while self._wishes:
            wishes, self._wishes = self._wishes, []
            try:
                grants = await self._grants(wishes)
            except Exception as error:  # noqa: BLE001 - each waiting job learns of it
                for wish in wishes:
                    if not wish.grant.done():
                        wish.grant.set_exception(error)
            else:
                for wish, grant in zip(wishes, grants, strict=True):
                    if not wish.grant.done():
                        wish.grant.set_result(grant)

    async def _grants(self, wishes: list[_Wish]) -> list[Grant]:
        is_fresh = self._document is None
        while True:
            if is_fresh:
                await self._read()
            changed, grants = _granted(self.last_known, wishes)
            if "refused" in grants and not is_fresh:
                is_fresh = True  # the limit may have been raised, or hours returned
            elif "reserved" not in grants or await self._replace(changed):
                return grants
            else:
                is_fresh = True  # another process was faster

    async def _read(self) -> None:
        self._document = await self._store.get("hours", self._key)

    async def _replace(self, hours: RunHours) -> bool:
        """Write the document unless another process has written it; return whether it is written."""
        content = {name: value for name, value in vars(hours).items() if value not in (None, {})}
        written = await (
            self._store.replace("hours", self._key, self._document, content)
            if self._document
            else self._store.create("hours", self._key, content)
        )
        if written:
            self._document = written
        return written is not None


def _granted(hours: RunHours, wishes: list[_Wish]) -> tuple[RunHours, list[Grant]]:
    """Return the hours after the wishes that the limit allows, in their order, and the answers to the wishes."""
    reserved, opened, grants = hours.reserved, dict(hours.opened), list[Grant]()
    for wish in wishes:
        planned = hours.planned.get(wish.label, inf)
        if wish.soft and opened.get(wish.label, 0) >= planned:
            grants.append("planned")
        elif wish.hours > 0 and not wish.forced and hours.limit is not None and reserved + wish.hours > hours.limit:
            grants.append("refused")
        else:
            grants.append("reserved")
            reserved = max(0, reserved + wish.hours)
            if wish.label in hours.planned:
                opened[wish.label] = max(0, opened.get(wish.label, 0) + wish.hours)
    return RunHours(hours.limit, hours.planned, reserved, opened), grants


class SessionHours(HourAccount):
    """Reserve session-hours for the jobs of this process."""

    def __init__(self, settings: Settings, store: RunStore, clock: Callable[[], float] = time.time) -> None:
        """Create the account. `clock` returns seconds since 1970."""
        self._settings, self._store, self._clock = settings, store, clock
        self._runs: OrderedDict[str, HourCounter] = OrderedDict()
        self._month: tuple[str, HourCounter] = ("", HourCounter(store, "", None, keeps_limit=False))
        self._refused_until = -inf

    async def reserve(self, run: str, label: str, *, open_sessions: int) -> bool:
        """Reserve an hour for a session of that label, for the run whose job starts it, or for none.

        Returns False if the run's planned sessions are open, `open_sessions` of this process among them.

        Raises:
            CostCapReached: The hour would pass the cap of the run or of the month.
            PipelineError: Storage failed.
        """
        if not self._settings.caps_cost:
            return True
        if run:
            grant = await self.of_run(run).change(1, label, soft=open_sessions > 0)
            if grant == "planned":
                return False
            if grant == "refused":
                raise self._run_refusal(run)
        try:
            is_reserved = await self._of_month().change(1) == "reserved"
        except BaseException:
            await self._return(run, label)
            raise
        if not is_reserved:
            await self._return(run, label)
            raise self._month_refusal()
        return True

    async def charge(self, run: str, hours: int) -> None:
        """Add hours that have started without a reservation (positive), or return reserved ones (negative)."""
        if not self._settings.caps_cost:
            return
        await self._of_month().change(hours, forced=True)
        if run:
            await self.of_run(run).change(hours, forced=True)

    def may_open(self, run: str, label: str, open_sessions: int) -> bool:
        """Return whether a job may open a session of that label, beside `open_sessions` of this process."""
        if not self._settings.caps_cost or not open_sessions:
            return True
        if self._clock() < self._refused_until:
            return False
        hours = self._runs[run].last_known if run in self._runs else RunHours()
        return hours.opened.get(label, 0) < hours.planned.get(label, inf)

    def refusal(self) -> CostCapReached | None:
        """Return the reason why no session may start now, as far as this process knows; None if one may."""
        return self._month_error() if self._clock() < self._refused_until else None

    def of_run(self, run: str) -> HourCounter:
        """Return the counter of a run."""
        counter = self._runs.setdefault(
            run, HourCounter(self._store, f"run {run}", self._settings.run_max_hours, keeps_limit=True)
        )
        self._runs.move_to_end(run)
        if len(self._runs) > MAX_RUNS:
            self._runs.popitem(last=False)
        return counter

    def _of_month(self) -> HourCounter:
        month = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m")
        if self._month[0] != month:
            self._month = (
                month,
                HourCounter(self._store, f"month {month}", self._settings.month_max_hours, keeps_limit=False),
            )
        return self._month[1]

    async def _return(self, run: str, label: str) -> None:
        if run:
            await self.of_run(run).change(-1, label, forced=True)

    def _run_refusal(self, run: str) -> CostCapReached:
        hours = self.of_run(run).last_known
        return CostCapReached(
            f"the run has used {hours.reserved:,} session-hours, and its cap on the cost allows {hours.limit or 0:,}: "
            "resume it with a higher cap",
            MONTH_PAUSE_SECONDS,
            run=run,
        )

    def _month_refusal(self) -> CostCapReached:
        error = self._month_error()
        if self._clock() >= self._refused_until:
            log.error("%s", error, extra={"event": "cost.month_cap_reached"})
        self._refused_until = self._clock() + MONTH_PAUSE_SECONDS
        return error

    def _month_error(self) -> CostCapReached:
        return CostCapReached(
            f"the sessions of this month have used {self._of_month().last_known.reserved:,} session-hours, and "
            f"{variable('month_max_cost')}={self._settings.month_max_cost:g} allows no further one: no session starts "
            "until the next month, or until the cap is raised",
            MONTH_PAUSE_SECONDS,
        )
