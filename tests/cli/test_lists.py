"""Lists of jobs as the command line shows them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pipeline.cli import jobs
from pipeline.cli.common import console
from pipeline.storage import Entry, JobKey, Version


def test_an_expired_claim_is_shown_instead_of_the_state() -> None:
    now = datetime.now(UTC)
    entry = Entry(JobKey.of("web", "input", "a.jpg"), "input", "a.jpg", "running", Version("0x1", "hash"))
    shown = []
    for expires in (now + timedelta(minutes=1), now - timedelta(minutes=1)):
        with console.capture() as output:
            jobs._show([replace(entry, expires=expires)])
        shown.append("claim expired" in output.get())
    assert shown == [False, True]
