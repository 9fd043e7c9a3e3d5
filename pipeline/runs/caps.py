"""Caps of runs: how many jobs a run may take, by the caps on jobs and cost of the settings and of a request."""

from bisect import bisect_right
from dataclasses import dataclass

from pipeline.errors import RequestError
from pipeline.runs.estimates import Estimate, Estimator
from pipeline.runs.selection import JobFinder, Selection
from pipeline.settings import Settings, variable
from pipeline.telemetry import logger

log = logger(__name__)


@dataclass(frozen=True)
class RunCaps:
    """Decides how many jobs a run may take."""

    settings: Settings
    finder: JobFinder
    estimator: Estimator

    def job_limit(self, expected: int, estimate: Estimate, max_jobs: int | None, max_cost: float | None) -> int:
        """Return the cap on the jobs of a run.

        Args:
            expected: The expected number of jobs.
            estimate: Their estimate.
            max_jobs: A cap on the number of jobs, below that of the settings.
            max_cost: A cap on the estimated cost, below that of the settings.

        Raises:
            RequestError: The expectation exceeds a cap.
        """
        settings = self.settings
        jobs = min(settings.run_max_jobs, settings.run_max_jobs if max_jobs is None else max_jobs)
        cost = min(settings.run_max_cost, settings.run_max_cost if max_cost is None else max_cost)
        if expected > jobs:
            raise RequestError(
                f"{expected:,} jobs exceed the cap of {jobs:,}; narrow the selection, or raise "
                f"{variable('run_max_jobs')} (and the cap of this request) on purpose",
                kind="over_cap",
            )
        if estimate.total > cost:
            raise RequestError(
                f"{expected:,} jobs cost about {estimate.total:.2f}, more than the cap of {cost:.2f}; narrow the "
                f"selection, or raise {variable('run_max_cost')} (and the cap of this request) on purpose",
                kind="over_cap",
            )
        return min(jobs, int(expected * (1 + settings.run_overrun_tolerance)))

    async def scheduled_limit(self, selection: Selection) -> tuple[int, str]:
        """Return the cap of a scheduled run, and the setting from which it comes.

        The cap on the cost lowers the number of jobs, but not below one: each night makes progress.
        """
        settings = self.settings
        caps = {name: getattr(settings, name) for name in ("schedule_max_jobs", "run_max_jobs")}
        name = min(caps, key=caps.__getitem__)
        recipes, measured = self.finder.selected_recipes(selection), await self.estimator.measured()

        def cost(jobs: int) -> float:
            return self.estimator.of_recipes(recipes, jobs, measured).total

        affordable = bisect_right(range(1, caps[name] + 1), settings.run_max_cost, key=cost)
        if affordable == caps[name]:
            return caps[name], variable(name)
        limit = max(1, affordable)
        log.warning(
            "the scheduled run takes %d jobs instead of %d, because of %s=%g",
            limit,
            caps[name],
            variable("run_max_cost"),
            settings.run_max_cost,
            extra={"event": "run.cost_capped"},
        )
        return limit, variable("run_max_cost")

    async def estimate(self, selection: Selection, jobs: int) -> Estimate:
        """Estimate duration and cost of this many jobs of a selection."""
        return self.estimator.of_recipes(self.finder.selected_recipes(selection), jobs, await self.estimator.measured())
