"""Guaranteed shares of priorities in the running jobs of one process."""

from collections.abc import Callable, Mapping

from pipeline.pool.requests import PRIORITIES, Priority

# Longest credit and debt of a priority, in seconds of one job.
MAX_BALANCE_SECONDS = 60.0
# Tolerance for the sums of fractions.
EPSILON = 1e-9


class GuaranteedShares:
    """Account of the priorities that have a guaranteed share of the running jobs.

    A priority gets whole jobs of its share at once. It gets the fraction that remains over time: while others wait, its
    balance grows with its share and falls with its running jobs, and a balance above zero is a claim to one job more.
    So the share holds in a process with one slot, and also when long jobs of others hold slots that were its own. Time
    without competition does not count.

    Attributes:
        shares: Guaranteed shares as fractions, by priority.
    """

    def __init__(self, shares: Mapping[Priority, float], clock: Callable[[], float]) -> None:
        """Create an account with balances of zero. `clock` returns seconds."""
        self.shares, self._clock = shares, clock
        self._balance: dict[Priority, float] = dict.fromkeys(PRIORITIES, 0.0)
        self._since = 0.0

    def settle(self, running: Mapping[Priority, int], waiting: Mapping[Priority, int]) -> None:
        """Bring the balances up to now. Call it before the numbers of running and waiting jobs change."""
        now = self._clock()
        seconds, self._since = now - self._since, now
        total, all_waiting = sum(running.values()), sum(waiting.values())
        for priority, share in self.shares.items():
            balance = self._balance[priority]
            if all_waiting > waiting[priority]:
                balance += (share * total - running[priority]) * seconds
            credit = MAX_BALANCE_SECONDS if waiting[priority] else 0.0
            self._balance[priority] = max(-MAX_BALANCE_SECONDS, min(balance, credit))

    def is_owed(self, priority: Priority, running: Mapping[Priority, int]) -> bool:
        """Return whether the next job should be one of this priority, by its share."""
        entitled = self.shares.get(priority, 0.0) * (sum(running.values()) + 1)
        count = running[priority]
        return count + 1 <= entitled + EPSILON or (count <= entitled and self._balance[priority] > EPSILON)
