"""Log lines: time, level, the function and invocation that speaks, message. They go to standard error."""

from __future__ import annotations

import logging

from typing_extensions import override

from devstack.host.invoke import running

QUIET = ("azure", "uvicorn", "asyncio", "urllib3")


class _Format(logging.Formatter):
    default_time_format = "%H:%M:%S"
    default_msec_format = "%s.%03d"

    @override
    def format(self, record: logging.LogRecord) -> str:
        record.running = f"[{invocation}] " if (invocation := running.get()) else ""
        return super().format(record)

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        # A name with a line end in it must not make up a line.
        record.message = "".join(each if each.isprintable() else repr(each)[1:-1] for each in record.message)
        return super().formatMessage(record)


def configure() -> None:
    """Log at INFO and above, the libraries at WARNING and above."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Format("%(asctime)s %(levelname)-7s %(running)s%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
