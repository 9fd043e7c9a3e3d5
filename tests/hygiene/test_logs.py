"""Untrusted text stays within its log line."""

from __future__ import annotations

import logging

import pytest

from pipeline.errors import SourceError
from pipeline.telemetry import job_log_context, logger, printable

FORGED = "a.jpg\r\n2026-01-01 ERROR forged line\x1b[2J\u2028\x00 ünï"


def test_untrusted_text_cannot_forge_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    with job_log_context("web.1"):
        logger("pipeline.test").warning("failed at %s: %s, %d", FORGED, SourceError(FORGED), 7)
    (record,) = caplog.records
    assert record.getMessage().isprintable()
    assert record.getMessage().startswith(
        "[web.1] failed at a.jpg\\r\\n2026-01-01 ERROR forged line\\x1b[2J\\u2028\\x00 ünï"
    )
    assert record.getMessage().endswith(", 7")
    assert (record.filename, record.funcName) == ("test_logs.py", "test_untrusted_text_cannot_forge_log_lines")


def test_an_internal_error_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        int("not a number")
    except ValueError:
        logger("pipeline.test").exception("internal error in %s", "x")
    assert caplog.records[0].levelno == logging.ERROR
    assert "Traceback" in caplog.text


def test_control_characters_are_escaped() -> None:
    assert printable("plain ünïcode ×") == "plain ünïcode ×"
    assert printable("a\nb\tc", keep="\n") == "a\nb\\tc"
