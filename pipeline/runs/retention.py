"""Retention: delete old metrics, plans and finished runs. Jobs and their rows in the ledger remain."""

from datetime import timedelta

from pipeline.runs.model import Run, key_of, now
from pipeline.storage import MAX_PERIOD, MetricsStore, RunStore
from pipeline.telemetry import logger

log = logger(__name__)
PAGE_SIZE = 200


async def apply_retention(store: RunStore, metrics: MetricsStore, retention_days: float) -> int:
    """Delete plans and finished runs older than `retention_days`, and metrics older than four days.

    Returns:
        The number of deleted plans and runs.
    """
    await metrics.delete_before(now() - 2 * MAX_PERIOD)
    # The table lists the newest first, and an id begins with its time.
    limit = key_of(f"{now() - timedelta(days=retention_days):%Y%m%d-%H%M%S}")
    count = 0
    after = limit
    while page := await store.page("plan", PAGE_SIZE, after):
        for key, _ in page:
            await store.delete("plan", key)
        after, count = page[-1][0], count + len(page)
    after = limit
    while page := await store.page("run", PAGE_SIZE, after):
        for key, document in page:
            run = Run.model_validate(document.content)
            if run.over:
                await store.delete_batches(run.id)
                await store.delete("run", key)
                count += 1
        after = page[-1][0]
    if count:
        log.info(
            "deleted %d plans and runs older than %g days",
            count,
            retention_days,
            extra={"event": "retention.applied"},
        )
    return count
