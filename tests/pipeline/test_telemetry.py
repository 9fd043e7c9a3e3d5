"""Traces and metrics of a job, through the SDK's collectors in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.instrumentation import utils
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pipeline.storage.queue import Message
from pipeline.telemetry import tracer
from pipeline.testing.pool import FakePool
from tests.images import image_bytes
from tests.pool.helpers import slot_documents
from tests.stack import Stack, open_stack

STAGES = {"claim", "acquire", "upload", "wait", "execute", "download", "commit", "ledger"}
# The SDK takes a provider once per process, so these are shared and emptied.
_spans = InMemorySpanExporter()
_reader = InMemoryMetricReader()


@pytest.fixture(scope="module")
def _providers() -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(_spans))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([_reader]))


@pytest.fixture
def spans(_providers: None) -> Iterator[InMemorySpanExporter]:
    """Yield the spans recorded since the start of the test."""
    _spans.clear()
    yield _spans
    _spans.clear()


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    """Return the spans of a name."""
    return [span for span in spans.get_finished_spans() if span.name == name]


def totals(name: str) -> dict[frozenset[tuple[str, Any]], float]:
    """Return the points of a metric by attributes: the value, or the number of values."""
    data = _reader.get_metrics_data()
    return {
        frozenset((point.attributes or {}).items()): getattr(point, "value", getattr(point, "count", 0))
        for resource in (data.resource_metrics if data else [])
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    }


async def test_a_job_is_one_span_with_a_child_for_every_stage(stack: Stack, spans: InMemorySpanExporter) -> None:
    before = totals("pipeline.jobs")
    await stack.upload("photos/a.jpg", image_bytes())
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, "photos/a.jpg")
    (job,) = named(spans, "job")
    assert job.context is not None
    children = [
        each for each in spans.get_finished_spans() if each.parent and each.parent.span_id == job.context.span_id
    ]
    assert {each.name for each in children} == STAGES
    assert dict(job.attributes or {})["pipeline.state"] == "done"
    done = frozenset({("recipe", "web"), ("state", "done")})
    assert totals("pipeline.jobs")[done] - before.get(done, 0) == 1
    stages = {dict(point)["stage"] for point in totals("pipeline.stage.duration")}
    assert stages >= STAGES
    assert {dict(point)["direction"] for point in totals("pipeline.bytes")} == {"in", "out"}
    assert sum(totals("pipeline.jobs.running").values()) == 0


async def test_a_failed_job_is_an_error_span_with_its_stage(stack: Stack, spans: InMemorySpanExporter) -> None:
    await stack.upload("photos/a.jpg", b"no image")
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, "photos/a.jpg")
    (job,) = named(spans, "job")
    assert (job.status.is_ok, job.status.description) == (False, "execute")


@pytest.mark.both
async def test_a_trace_continues_after_the_queue(stack: Stack, spans: InMemorySpanExporter) -> None:
    services = stack.services
    await stack.upload("photos/a.jpg", image_bytes())
    with tracer.start_as_current_span("request") as request:
        await services.job_queue.send(
            Message(recipe="web", container=services.settings.input_container, name="photos/a.jpg")
        )
    (body,) = await stack.messages()
    with tracer.start_as_current_span("host") as host:
        await services.dispatcher.handle_message(Message(**body).model_dump_json().encode())
    (job,), (received,) = named(spans, "job"), named(spans, "receive")
    assert job.context is not None
    assert job.context.trace_id == request.get_span_context().trace_id
    assert [link.context.span_id for link in received.links] == [host.get_span_context().span_id]


@pytest.mark.parametrize("trace_of", ["", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
async def test_a_message_with_an_invalid_trace_is_processed(stack: Stack, trace_of: str) -> None:
    await stack.upload("photos/a.jpg", b"no image")
    message = Message(
        recipe="web",
        container=stack.services.settings.input_container,
        name="photos/a.jpg",
        traceparent=trace_of,
    )
    await stack.services.dispatcher.handle_message(message.model_dump_json().encode())
    entry = await stack.entry("web", "photos/a.jpg")
    assert entry is not None
    assert entry.state == "failed"


async def test_no_span_contains_a_session_identifier(environ: dict[str, str], spans: InMemorySpanExporter) -> None:
    """Azure Monitor's package records every call of httpx with its full URL, which contains the identifier."""
    HTTPXClientInstrumentor().instrument()
    try:
        async with open_stack(environ) as stack:
            await stack.upload("photos/a.jpg", image_bytes())
            container = stack.services.settings.input_container
            await stack.services.executor.execute(container, "photos/a.jpg", stack.services.recipes.get("web"))
            identifiers = [each["identifier"] for each in await slot_documents(stack) if each.get("identifier")]
    finally:
        HTTPXClientInstrumentor().uninstrument()
    exported = "".join(span.to_json() for span in spans.get_finished_spans())
    assert identifiers
    assert not [each for each in identifiers if each in exported]
    assert "AccountKey" not in exported


async def test_calls_of_the_pool_are_suppressed_for_every_instrumentation(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The instrumentation of httpx does not know our transport; that of aiohttp would record the calls."""
    recorded, send = [], FakePool.handle_async_request

    async def observe(pool: FakePool, request: Any) -> Any:
        recorded.append(utils.is_http_instrumentation_enabled())
        return await send(pool, request)

    monkeypatch.setattr(FakePool, "handle_async_request", observe)
    await stack.upload("photos/a.jpg", image_bytes())
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, "photos/a.jpg")
    assert set(recorded) == {False}
    assert utils.is_http_instrumentation_enabled()
