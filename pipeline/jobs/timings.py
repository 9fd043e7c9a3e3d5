"""Time the stages of a job, for the ledger, for traces and for metrics."""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry.trace import Status, StatusCode

from pipeline.errors import PipelineError
from pipeline.telemetry import jobs_ended, jobs_running, stage_seconds, tracer


async def _no_check() -> None:
    """Do nothing: the claim check of work that has no claim, such as a preview."""


@dataclass
class JobTimer:
    """Record the stages of one job, and stop it at the next stage once its claim is lost.

    Attributes:
        recipe: The recipe's family; it labels metrics and spans.
        current: The stage that the job is in.
        session: The slot and generation of the job's session, such as `000.1`; empty before one is acquired.
        ms: Total milliseconds in each stage.
        spans: Each pass through a stage: its name, its start in milliseconds since `started`, and its length.
        started: Wall-clock time at which the job started, in seconds since 1970.
        state: The state in which the job ended.
        lost_claim: The reason why the claim was lost; no further stage starts then.
        claim_check: Raises JobSuperseded if another worker holds the claim.
    """

    recipe: str
    current: str = "claim"
    session: str = ""
    ms: dict[str, float] = field(default_factory=dict)
    spans: list[tuple[str, float, float]] = field(default_factory=list)
    started: float = field(default_factory=time.time)
    state: str = ""
    lost_claim: PipelineError | None = None
    claim_check: Callable[[], Awaitable[None]] = _no_check
    _zero: float = field(default_factory=time.perf_counter)

    @property
    def elapsed(self) -> float:
        """Return the seconds since the job started."""
        return time.perf_counter() - self._zero

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the enclosed work as the stage `name`. Raises JobSuperseded if the claim was lost before."""
        self._raise_if_lost()
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
                self._record(name, started, time.perf_counter())

    async def ensure_claimed(self) -> None:
        """Assert that the claim still holds; call it before expensive or irreversible steps.

        Raises JobSuperseded if it does not. The ledger is read only if the last heartbeat is overdue.
        """
        self._raise_if_lost()
        await self.claim_check()

    def add_span(self, name: str, started: float, ended: float) -> None:
        """Record a stage that has ended. Both times are in seconds of `time.perf_counter`."""
        offset = time.time_ns() - round(time.perf_counter() * 1e9)
        span = tracer.start_span(name, start_time=offset + round(started * 1e9))
        if self.session:
            span.set_attribute("pipeline.session", self.session)
        span.end(offset + round(ended * 1e9))
        self._record(name, started, ended)

    @contextmanager
    def job(self, job_id: str) -> Iterator[None]:
        """Trace and count the enclosed work as one job; its stages become child spans."""
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

    def _raise_if_lost(self) -> None:
        if self.lost_claim:
            raise self.lost_claim

    def _record(self, name: str, started: float, ended: float) -> None:
        elapsed_ms = (ended - started) * 1000
        self.ms[name] = round(self.ms.get(name, 0) + elapsed_ms, 1)
        self.spans.append((name, round((started - self._zero) * 1000, 1), round(elapsed_ms, 1)))
        stage_seconds.record(ended - started, {"stage": name, "recipe": self.recipe})


def _kind(error: BaseException) -> str:
    return error.kind if isinstance(error, PipelineError) else type(error).__name__
