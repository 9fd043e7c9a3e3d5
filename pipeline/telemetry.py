"""Logs with events and job ids, and traces and metrics through OpenTelemetry.

The code uses the API of OpenTelemetry. Without a configured SDK, spans and metrics are no-ops and cost almost nothing;
on Azure, settings of the platform configure one. No attribute contains a session identifier, a token or a key.
"""

import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from opentelemetry import context, metrics, trace
from opentelemetry.trace import Link
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

NAME = "image-pipeline"
tracer = trace.get_tracer(NAME)
_meter = metrics.get_meter(NAME)
_traceparents = TraceContextTextMapPropagator()
_job: ContextVar[str | None] = ContextVar("job", default=None)

jobs_ended = _meter.create_counter("pipeline.jobs", "{job}", "Ended jobs, by `state` and `recipe`.")
jobs_running = _meter.create_up_down_counter("pipeline.jobs.running", "{job}", "Running jobs, by `recipe`.")
stage_seconds = _meter.create_histogram("pipeline.stage.duration", "s", "Duration of stages, by `stage` and `recipe`.")
microbatch_jobs = _meter.create_histogram("pipeline.microbatch.jobs", "{job}", "Jobs per execution.")
slots_held = _meter.create_up_down_counter("pipeline.slots.held", "{slot}", "Slots that the process holds.")
slots_used = _meter.create_up_down_counter("pipeline.slots.in_use", "{slot}", "Slots with a running job.")
slot_wait_seconds = _meter.create_histogram("pipeline.slot.wait", "s", "Wait of jobs for a session, by `priority`.")
pool_refusals = _meter.create_counter(
    "pipeline.pool.refusals", "{call}", "Calls that the pool refused for now, by `call` and `kind`."
)
bytes_moved = _meter.create_counter("pipeline.bytes", "By", "Bytes of images, by `direction` (in, out) and `recipe`.")


class JobLogger(logging.LoggerAdapter[logging.Logger]):
    """Logger that puts the event name and the current job's id in front of each message, and into its attributes.

    Pass the event as `extra={"event": "job.failed"}`, with further fields. The text then begins with
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
    return value if isinstance(value, int | float) else printable(str(value))


def printable(text: str, keep: str = "") -> str:
    """Escape line breaks and other characters that are not printable, except those in `keep`."""
    return "".join(char if char.isprintable() or char in keep else repr(char)[1:-1] for char in text)


def logger(name: str) -> JobLogger:
    """Return the logger of a module."""
    return JobLogger(logging.getLogger(name))


@contextmanager
def job_log_context(job_id: str) -> Iterator[None]:
    """Add `job_id` to all log records of the block."""
    token = _job.set(job_id)
    try:
        yield
    finally:
        _job.reset(token)


@contextmanager
def continue_trace(traceparent: str) -> Iterator[None]:
    """Continue the trace of `traceparent` in the block, and link the trace of the receiver.

    An empty or invalid `traceparent` changes nothing.
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
    """Return the current trace, for a message that continues it; empty if no trace is recorded."""
    carrier: dict[str, str] = {}
    _traceparents.inject(carrier)
    return carrier.get("traceparent", "")


def suppress_http_spans() -> AbstractContextManager[None]:
    """Record no spans of HTTP calls in the block: URLs of the pool contain session identifiers, which are secrets."""
    # Instrumentations of HTTP clients load this module, and obey it. Without it there is nothing to suppress.
    utils: Any = sys.modules.get("opentelemetry.instrumentation.utils")
    suppressed: AbstractContextManager[None] = utils.suppress_http_instrumentation() if utils else nullcontext()
    return suppressed


def quiet_libraries() -> None:
    """Raise the log levels of libraries. At INFO, they log every request, with URLs that may contain identifiers."""
    for name in ("azure", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # If a problem lasts, the pipeline logs it as its own error, with the remedy.
    for name in ("azure.identity", "stamina"):
        logging.getLogger(name).setLevel(logging.ERROR)
