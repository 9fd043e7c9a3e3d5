"""Account of session-hours: an hour of a session is reserved before it starts."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol, Self

from pipeline.errors import PipelineError
from pipeline.pool.billing import HOUR_SECONDS, SessionLifetime, started_hours


class HourAccount(Protocol):
    """Account from which the hours of sessions are reserved. A run is given by its id; other jobs have none ("")."""

    async def reserve(self, run: str, label: str, *, open_sessions: int) -> bool:
        """Reserve an hour of a session with that label.

        Returns False if the job has to use one of the `open_sessions` of this process instead. Raises PipelineError if
        no hour may start.
        """

    async def charge(self, run: str, hours: int) -> None:
        """Add hours that have started without a reservation (positive), or return reserved ones (negative)."""

    def may_open(self, run: str, label: str, open_sessions: int) -> bool:
        """Return whether a job may open a session of that label, beside `open_sessions` of this process."""


class UnlimitedHours(HourAccount):
    """Account without a limit."""

    async def reserve(self, run: str, label: str, *, open_sessions: int) -> bool:
        """Allow every hour."""
        return True

    async def charge(self, run: str, hours: int) -> None:
        """Count nothing."""

    def may_open(self, run: str, label: str, open_sessions: int) -> bool:
        """Allow every session."""
        return True


@dataclass(eq=False)
class ReservedHours:
    """Hours that are reserved for the present session of a slot.

    Attributes:
        count: Number of hours.
        payer: Run that has reserved the last of them; empty if that was no run.
    """

    count: int = 0
    payer: str = ""
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def read(cls, content: Mapping[str, Any], counted: int) -> Self:
        """Read from a slot's document; without such a field, the `counted` hours of the session are reserved."""
        return cls(int(content.get("paid", counted)), str(content.get("payer", "")))

    @property
    def seconds(self) -> float:
        """Age of the session in seconds at which the hours end; infinite before the first one is reserved."""
        return self.count * HOUR_SECONDS if self.count else inf

    async def pay(
        self, account: HourAccount, lifetime: SessionLifetime, run: str, label: str, open_sessions: int
    ) -> bool:
        """Reserve the hour in which a job starts, unless another job has done so.

        Returns False if the job has to use one of the `open_sessions` of its label. Raises PipelineError if no hour may
        start.
        """
        async with self._lock:
            # The next use of a session that may have expired may start a new one.
            while self.count < (needed := lifetime.counted + 1 if lifetime.unconfirmed else 1):
                others = open_sessions if needed == 1 else 0
                if not await account.reserve(run, label, open_sessions=others):
                    return False
                self.count, self.payer = self.count + 1, run
        return True

    async def renew(self, account: HourAccount, run: str, label: str) -> None:
        """Reserve another hour, if that is possible."""
        if self._lock.locked():
            return
        async with self._lock:
            with suppress(PipelineError):
                if await account.reserve(run, label, open_sessions=0):
                    self.count, self.payer = self.count + 1, run

    async def pay_until_expiry(self, account: HourAccount, lifetime: SessionLifetime, label: str) -> bool:
        """Reserve the hours until an idle session expires. Returns False if that is refused."""
        try:
            while self.count < started_hours(lifetime.started, lifetime.ends):
                await account.reserve(self.payer, label, open_sessions=0)
                self.count += 1
        except PipelineError:
            return False
        return True

    def use(self, hours: int) -> None:
        """Take away hours of a session that has been replaced by another one."""
        self.count = max(0, self.count - hours)

    async def settle(self, account: HourAccount, counted: int) -> None:
        """Charge the hours that the session has started beyond the reserved ones, or return those that it leaves."""
        difference, self.count = counted - self.count, counted
        if difference:
            with suppress(PipelineError):
                await account.charge(self.payer, difference)
