"""Caps of runs: how many jobs and session-hours a run may take, by the caps of the settings and of a request."""

from bisect import bisect_right
from dataclasses import dataclass

from pipeline.errors import RequestError
from pipeline.jobs.session_hours import RunHours
from pipeline.runs.estimates import Estimate, Estimator
from pipeline.runs.model import Run
from pipeline.runs.selection import JobFinder, Selection
from pipeline.settings import Settings, variable, whole_hours
from pipeline.telemetry import logger

log = logger(__name__)


@dataclass(frozen=True)
class RunCaps:
    """Decides how many jobs and session-hours a run may take."""

    settings: Settings
    finder: JobFinder
    estimator: Estimator

    def job_limit(self, expected: int, estimate: Estimate, max_jobs: int | None, max_cost: float | None) -> int:
        """Return the cap on the jobs of a run.

        Args:
            expected: The expected number of jobs.
            estimate: Their estimate.
            max_jobs: A cap on the number of jobs, below that of the settings.
            max_cost: A cap on the cost, below that of the settings.

        Raises:
            RequestError: The expectation exceeds a cap, or the cap on the cost cannot hold.
        """
        settings = self.settings
        jobs = min(settings.run_max_jobs, settings.run_max_jobs if max_jobs is None else max_jobs)
        if expected > jobs:
            raise RequestError(
                f"{expected:,} jobs exceed the cap of {jobs:,}; narrow the selection, or raise "
                f"{variable('run_max_jobs')} (and the cap of this request) on purpose",
                kind="over_cap",
            )
        self._check_cost(f"{expected:,} jobs", estimate.total, self.cost_cap(max_cost))
        return min(jobs, int(expected * (1 + settings.run_overrun_tolerance)))

    def cost_cap(self, max_cost: float | None) -> float | None:
        """Return the cap on the cost of a run; None if none can hold, and the request has none.

        Raises:
            RequestError: The cap of the request cannot hold, or no session-hour fits into the cap.
        """
        settings = self.settings
        if not settings.caps_cost:
            if max_cost is not None:
                raise RequestError(
                    f"no cap on the cost can hold: {settings.uncapped_reason}; give a cap on the jobs instead",
                    kind="no_cost_cap",
                )
            return None
        cap = settings.run_max_cost if max_cost is None else min(settings.run_max_cost, max_cost)
        if cap < settings.price_session_hour:
            raise RequestError(
                f"the cap of {cap:g} is less than one session-hour costs ({settings.price_session_hour:g}), so no "
                f"session could start: raise {variable('run_max_cost')} (and the cap of this request)",
                kind="cap_below_hour",
            )
        return cap

    def hours(self, estimate: Estimate, max_cost: float | None) -> RunHours:
        """Return the session-hours that the cap leaves to a run beside its other costs. Raises as `cost_cap` does."""
        cap = self.cost_cap(max_cost)
        if cap is None:
            return RunHours(None, estimate.planned)
        return RunHours(
            whole_hours(cap - estimate.without_sessions, self.settings.price_session_hour), estimate.planned
        )

    async def hours_to_resume(self, run: Run, hours: RunHours, limit: int, max_cost: float | None) -> RunHours:
        """Return the session-hours of a run that continues with a limit on its jobs.

        The remaining jobs are priced by the run's own estimate or by its recipes, by the lower one: both are upper
        bounds for jobs of the same kind.

        Raises:
            RequestError: The hours used so far and the remaining jobs exceed the cap.
        """
        ended = run.progress.total - run.progress.left
        remaining = max(run.progress.left, limit - ended)
        estimate = await self.estimate(run.selection, remaining)
        if run.expected and run.estimate.total:
            estimate = min(estimate, run.estimate.scaled(remaining / run.expected), key=lambda each: each.total)
        cap = self.cost_cap(run.max_cost if max_cost is None else max_cost)
        opened = {label: hours.opened.get(label, 0) + more for label, more in estimate.planned.items()}
        if cap is None:
            return RunHours(None, opened, hours.reserved, hours.opened)
        price = self.settings.price_session_hour
        others = run.estimate.without_sessions * ended / run.expected if run.expected else 0
        spent = hours.reserved * price + others
        self._check_cost(
            f"the {hours.reserved:,} session-hours so far and {remaining:,} further jobs", spent + estimate.total, cap
        )
        return RunHours(
            whole_hours(cap - others - estimate.without_sessions, price), opened, hours.reserved, hours.opened
        )

    def _check_cost(self, what: str, cost: float, cap: float | None) -> None:
        if cap is not None and cost > cap:
            raise RequestError(
                f"{what} cost up to {cost:.2f}, more than the cap of {cap:.2f}; narrow the selection, or raise "
                f"{variable('run_max_cost')} (and the cap of this request) on purpose",
                kind="over_cap",
            )

    async def scheduled_limit(self, selection: Selection) -> tuple[int, str, Estimate]:
        """Return the cap of a scheduled run, the setting from which it comes, and the estimate of so many jobs.

        The cap on the cost lowers the number of jobs. Raises RequestError if not even one job fits into it.
        """
        settings = self.settings
        caps = {name: getattr(settings, name) for name in ("schedule_max_jobs", "run_max_jobs")}
        name = min(caps, key=caps.__getitem__)
        recipes, measured = self.finder.selected_recipes(selection), await self.estimator.measured()
        cap = self.cost_cap(None)

        def estimate(jobs: int) -> Estimate:
            return self.estimator.of_recipes(recipes, jobs, measured)

        if cap is None or estimate(caps[name]).total <= cap:
            return caps[name], variable(name), estimate(caps[name])
        limit = bisect_right(range(1, caps[name] + 1), cap, key=lambda jobs: estimate(jobs).total)
        if limit == 0:
            raise RequestError(
                f"{variable('run_max_cost')}={cap:g} is less than one job may cost ({estimate(1).total:.4f}): raise it",
                kind="cap_below_hour",
            )
        log.warning(
            "the scheduled run takes %d jobs instead of %d, because of %s=%g",
            limit,
            caps[name],
            variable("run_max_cost"),
            settings.run_max_cost,
            extra={"event": "run.cost_capped"},
        )
        return limit, variable("run_max_cost"), estimate(limit)

    async def estimate(self, selection: Selection, jobs: int) -> Estimate:
        """Estimate duration and cost of this many jobs of a selection."""
        return self.estimator.of_recipes(self.finder.selected_recipes(selection), jobs, await self.estimator.measured())
