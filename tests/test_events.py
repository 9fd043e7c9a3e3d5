"""Event names of log lines: a stable interface for alerts, queries and users."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pytest
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from pipeline.telemetry import job_log_context, logger
from tests import events


def test_every_log_call_has_an_event() -> None:
    calls = list(events.log_calls())
    assert len(calls) > 50
    assert [place for place, call, _ in calls if not events.event_of(call)] == []


def test_event_names_are_a_noun_and_a_participle() -> None:
    assert [name for name in events.logged_events() if not re.fullmatch(r"[a-z_]+\.[a-z_]+", name)] == []


def test_the_page_on_operations_lists_every_event() -> None:
    assert events.listed_events() == events.logged_events()
    assert list(events.listed_events()) == sorted(events.listed_events())


def test_queries_match_event_names_and_no_sentences() -> None:
    queries, names = events.queries(), events.logged_events()
    assert len(queries) >= 7
    for query in set(queries) - set(events.host_queries()):
        found = events.queried_events(query)
        assert found, query
        assert len(found) == len(re.findall(r'"[^"]+"', query)), f"matches a sentence: {query}"
        assert set(found) <= set(names), query
        # `has` matches whole words, and a name that continues another one would match its query, too.
        assert not [name for name in names if any(name.startswith((f"{each}_", f"{each}.")) for each in found)], query


def test_queries_on_lines_of_the_host_are_exceptions() -> None:
    numbers = [str(number) for number, query in enumerate(events.queries(), 1) if query in events.host_queries()]
    assert re.findall(r"^\| (\d+) \| `[^`]+` \|$", events.PAGE, flags=re.MULTILINE) == numbers


def test_log_lines_name_events_that_exist() -> None:
    """The page quotes log lines by their event, for instance in its table of automatic reactions."""
    named = set(re.findall(r"event=([a-z_]+\.[a-z_]+)", events.PAGE))
    assert len(named) > 10
    assert named <= set(events.logged_events())


@pytest.fixture
def exported() -> Iterator[InMemoryLogRecordExporter]:
    """Export the records of one logger through OpenTelemetry, as azure-monitor-opentelemetry does."""
    exporter, provider = InMemoryLogRecordExporter(), LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    handler, source = LoggingHandler(logger_provider=provider), logging.getLogger("pipeline.tested")
    source.addHandler(handler)
    source.setLevel(logging.INFO)
    yield exporter
    source.removeHandler(handler)
    provider.shutdown()


def attributes(exporter: InMemoryLogRecordExporter) -> tuple[ReadableLogRecord, dict[str, object]]:
    """Return the only exported record, and its attributes without those about the place in the code."""
    (record,) = exporter.get_finished_logs()
    found = record.log_record.attributes or {}
    return record, {key: value for key, value in found.items() if not key.startswith("code.")}


def test_exported_records_have_event_job_and_fields(exported: InMemoryLogRecordExporter) -> None:
    with job_log_context("0a1b"):
        logger("pipeline.tested").warning(
            "failed at %s: %s",
            "execute",
            "damaged\nevent=job.done",
            extra={"event": "job.failed", "kind": "damaged_image"},
        )
    record, found = attributes(exported)
    assert found == {"event": "job.failed", "job": "0a1b", "kind": "damaged_image"}
    assert record.log_record.body == "event=job.failed [0a1b] failed at execute: damaged\\nevent=job.done"
    assert record.log_record.severity_text in ("WARN", "WARNING")


def test_exported_records_outside_a_job_have_no_job(exported: InMemoryLogRecordExporter) -> None:
    logger("pipeline.tested").info("leased slot %s", "slots/001.json", extra={"event": "slot.leased"})
    record, found = attributes(exported)
    assert found == {"event": "slot.leased"}
    assert record.log_record.body == "event=slot.leased leased slot slots/001.json"


def test_exported_records_of_bugs_have_a_traceback(exported: InMemoryLogRecordExporter) -> None:
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        logger("pipeline.tested").exception("internal error", extra={"event": "job.crashed"})
    _, found = attributes(exported)
    assert found["event"] == "job.crashed"
    assert found["exception.type"] == "ZeroDivisionError"
