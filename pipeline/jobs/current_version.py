"""Start over with the current version of a source that changes while its job is under way."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from pipeline.errors import SourceChanged
from pipeline.telemetry import logger

log = logger(__name__)
T = TypeVar("T")
CHANGES_AT_ONCE: Final = 3


async def for_current_version(attempt: Callable[[], Awaitable[T]]) -> T:
    """Call `attempt`, which opens the source, again after a change: at most three times, without a pause.

    Raises SourceChanged if the source changes during the last attempt, too.
    """
    for _ in range(CHANGES_AT_ONCE):
        try:
            return await attempt()
        except SourceChanged as error:
            log.info("%s; processing its current version", error, extra={"event": "job.source_changed"})
    return await attempt()
