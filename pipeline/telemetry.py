"""Logs: one logger per module, whose lines about a job carry the job's id."""

from __future__ import annotations

import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_job: ContextVar[str | None] = ContextVar("job", default=None)


class JobLogger(logging.LoggerAdapter[logging.Logger]):
    """Puts the id of the job at hand in front of every message."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:  # noqa: ANN401 - the signature of logging
        """The message with `[job id]` in front, when there is a job at hand."""
        job = _job.get()
        return (f"[{job}] {msg}" if job else msg), kwargs


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


def quiet_libraries() -> None:
    """Storage and HTTP clients log every request at INFO; those lines tell nothing and may name sessions."""
    for name in ("azure", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # What it warns of comes as an error of ours, which says the same and what to do.
    logging.getLogger("azure.identity").setLevel(logging.ERROR)
