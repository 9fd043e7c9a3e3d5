"""The stages of a job: where it is and how long each took, for the ledger, for traces and for metrics."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry.trace import Status, StatusCode

from pipeline.errors import PipelineError
from pipeline.telemetry import jobs_ended, jobs_running, stage_seconds, tracer


async def _nobody_elses() -> None:
    """What is asked of a job that nobody else could be on."""


@dataclass
class JobTimer:
    """A job's way. `ms` has the whole time of each stage, `marks` every stretch: its start and length since `began`.

    Times are milliseconds, `began` is wall time in seconds. `session` names the session's slot and generation, `state`
    is what the job came to, and `lost` why going on is of no use: then no further stage begins. `look` finds out
    whether another is on the job by now, and raises that.
    """

    recipe: str
    current: str = "claim"
    session: str = ""
    ms: dict[str, float] = field(default_factory=dict)
    spans: list[tuple[str, float, float]] = field(default_factory=list)
    started: float = field(default_factory=time.time)
    state: str = ""
    lost_claim: PipelineError | None = None
    claim_check: Callable[[], Awaitable[None]] = _nobody_elses
    _zero: float = field(default_factory=time.perf_counter)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Within this, the job is at `name`. Raises what the job was lost by, if it was."""
        self._check()
        self.current, started = name, time.perf_counter()
        with tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as span:
            try:
                yield
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, _kind(error)))
                raise
            finally:
                if self.session:
                    span.set_attribute("pipeline.session", self.session)
                self._note(name, started, time.perf_counter())

    async def ensure_claimed(self) -> None:
        """Before what is dear or dangerous: raises what the job was lost by, looked up where that is in doubt."""
        self._check()
        await self.claim_check()

    def add_span(self, name: str, started: float, ended: float) -> None:
        """A stage that is over, by its times of `time.perf_counter`."""
        offset = time.time_ns() - round(time.perf_counter() * 1e9)
        span = tracer.start_span(name, start_time=offset + round(started * 1e9))
        if self.session:
            span.set_attribute("pipeline.session", self.session)
        span.end(offset + round(ended * 1e9))
        self._note(name, started, ended)

    @contextmanager
    def job(self, job_id: str) -> Iterator[None]:
        """The whole job: a span over all stages."""
        attributes = {"pipeline.job": job_id, "pipeline.recipe": self.recipe}
        jobs_running.add(1, {"recipe": self.recipe})
        with tracer.start_as_current_span(
            "job", attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                self.state = self.state or _kind(error)
                raise
            finally:
                span.set_attribute("pipeline.state", self.state)
                if self.state == "failed":
                    span.set_status(Status(StatusCode.ERROR, self.current))
                jobs_running.add(-1, {"recipe": self.recipe})
                jobs_ended.add(1, {"recipe": self.recipe, "state": self.state})

    def _check(self) -> None:
        if self.lost_claim:
            raise self.lost_claim

    def _note(self, name: str, started: float, ended: float) -> None:
        took = (ended - started) * 1000
        self.ms[name] = round(self.ms.get(name, 0) + took, 1)
        self.spans.append((name, round((started - self._zero) * 1000, 1), round(took, 1)))
        stage_seconds.record(ended - started, {"stage": name, "recipe": self.recipe})


def _kind(error: BaseException) -> str:
    return error.kind if isinstance(error, PipelineError) else type(error).__name__
