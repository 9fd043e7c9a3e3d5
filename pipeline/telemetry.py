"""Logs, whose lines about a job carry the job's id; traces and metrics through OpenTelemetry.

Only OpenTelemetry's interface is used: without an SDK that somebody configured (on Azure the platform does, when told
to by its own settings) spans and metrics cost next to nothing and go nowhere. No attribute ever holds a session's
identifier, a token or a key.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from typing import Any

from opentelemetry import context, metrics, trace
from opentelemetry.trace import Link
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_unrecorded: Callable[[], AbstractContextManager[None]] = nullcontext
# There only together with what it switches off.
with suppress(ImportError):
    from opentelemetry.instrumentation.utils import suppress_http_instrumentation as _unrecorded

NAME = "image-pipeline"
tracer = trace.get_tracer(NAME)
_meter = metrics.get_meter(NAME)
_traceparents = TraceContextTextMapPropagator()
_job: ContextVar[str | None] = ContextVar("job", default=None)

jobs_ended = _meter.create_counter("pipeline.jobs", "{job}", "Jobs that ended, by `state` and `recipe`.")
jobs_running = _meter.create_up_down_counter("pipeline.jobs.running", "{job}", "Jobs under way, by `recipe`.")
stage_seconds = _meter.create_histogram("pipeline.stage.duration", "s", "Time in each `stage`, by `recipe`.")
microbatch_jobs = _meter.create_histogram("pipeline.microbatch.jobs", "{job}", "Jobs in one execution.")
slots_held = _meter.create_up_down_counter("pipeline.slots.held", "{slot}", "Slots that processes hold.")
slots_used = _meter.create_up_down_counter("pipeline.slots.in_use", "{slot}", "Slots whose sessions have a job.")
slot_wait_seconds = _meter.create_histogram(
    "pipeline.slot.wait", "s", "How long jobs wait for a session, by `priority`."
)
pool_refusals = _meter.create_counter(
    "pipeline.pool.refusals", "{call}", "Calls the pool put off, by `call` and `kind`."
)
bytes_moved = _meter.create_counter("pipeline.bytes", "By", "Bytes of images, by `direction`: in or out.")


class JobLogger(logging.LoggerAdapter[logging.Logger]):
    """Logger that puts the event name and the current job's id in front of each message, and into its attributes.

    Pass the event as `extra={"event": "job.failed"}`, with further fields beside it. The text then begins with
    `event=job.failed [JOB]`, and exported records carry `event`, `job` and the fields as attributes.
    `docs/operations.md` lists all events.
    """

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:  # noqa: ANN401 - the signature of logging
        """Return the message with its prefix, and the keyword arguments with the job's id among the attributes."""
        job, fields = _job.get(), dict(kwargs.get("extra") or {})
        if job:
            msg, fields["job"] = f"[{job}] {msg}", job
        if event := fields.get("event"):
            msg = f"event={event} {msg}"
        return msg, {**kwargs, "extra": fields}

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:  # noqa: ANN401 - the signature of logging
        """Log a message as one line: names of blobs and output of sessions cannot forge lines."""
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        super().log(level, msg, *map(_in_one_line, args), **kwargs)


def _in_one_line(value: object) -> object:
    if isinstance(value, int | float):
        return value
    return printable(str(value))


def printable(text: str, but: str = "") -> str:
    """The text with line ends, control characters and the like (except those in `but`) as escapes."""
    return "".join(char if char.isprintable() or char in but else repr(char)[1:-1] for char in text)


def logger(name: str) -> JobLogger:
    """The logger of a module."""
    return JobLogger(logging.getLogger(name))


@contextmanager
def about_job(job_id: str) -> Iterator[None]:
    """Within this, every log line carries `job_id`."""
    token = _job.set(job_id)
    try:
        yield
    finally:
        _job.reset(token)


@contextmanager
def continued(traceparent: str) -> Iterator[None]:
    """Within this, spans go on in the trace that `traceparent` names; without a usable one nothing changes.

    The receiver's own trace, the host's, is linked.
    """
    here = trace.get_current_span().get_span_context()
    there = _traceparents.extract({"traceparent": traceparent}, context.Context()) if traceparent else None
    if there is None or not trace.get_current_span(there).get_span_context().is_valid:
        yield
        return
    token = context.attach(there)
    try:
        with tracer.start_as_current_span("receive", links=[Link(here)] if here.is_valid else None):
            yield
    finally:
        context.detach(token)


def traceparent() -> str:
    """The trace at hand, for a message that goes on in it; empty when nobody records one."""
    carrier: dict[str, str] = {}
    _traceparents.inject(carrier)
    return carrier.get("traceparent", "")


def unrecorded() -> AbstractContextManager[None]:
    """Within this, no HTTP call is recorded by itself: the pool's addresses hold identifiers, which are secrets."""
    return _unrecorded()


def quiet_libraries() -> None:
    """Storage and HTTP clients log every request at INFO; those lines tell nothing and may name sessions."""
    for name in ("azure", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # What they warn of comes as an error of ours, should it last, which says the same and what to do.
    for name in ("azure.identity", "stamina"):
        logging.getLogger(name).setLevel(logging.ERROR)
