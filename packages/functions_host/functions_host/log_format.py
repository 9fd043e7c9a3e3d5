"""Format log lines: time, level, function and invocation, message. The lines go to standard error."""

from __future__ import annotations

import logging

from functions_host.functions import current_invocation

QUIET_LOGGERS = ("azure", "uvicorn", "asyncio", "urllib3")


def configure_logging() -> None:
    """Log at INFO and above; libraries log at WARNING and above."""
    handler = logging.StreamHandler()
    handler.addFilter(_prepare)
    formatter = logging.Formatter("%(asctime)s %(levelname)-7s %(invocation)s%(message)s", "%H:%M:%S")
    formatter.default_msec_format = "%s.%03d"
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def _prepare(record: logging.LogRecord) -> bool:
    """Add the invocation, and escape control characters: a blob name with a line break must not forge a log line."""
    record.invocation = f"[{invocation}] " if (invocation := current_invocation.get()) else ""
    text = record.getMessage()
    record.msg, record.args = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text), ()
    return True
