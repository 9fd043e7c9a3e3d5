"""What nobody looks at any more: figures by the minute, plans and runs of long ago. Jobs and their rows stay."""

from __future__ import annotations

from datetime import timedelta

from pipeline.runs.model import Run, key_of, now
from pipeline.services import Services
from pipeline.storage.metrics import LONGEST
from pipeline.telemetry import logger

log = logger(__name__)
PAGE = 200


async def apply_retention(services: Services) -> int:
    """Forget them: how many plans and runs there were. A run that is at work is not forgotten."""
    await services.ledger.stats.delete_before(now() - 2 * LONGEST)
    # The newest come first, and an id begins with its time.
    limit = key_of(f"{now() - timedelta(days=services.settings.run_retention_days):%Y%m%d-%H%M%S}")
    count = 0
    after = limit
    while found := await services.run_store.page("plan", PAGE, after):
        for key, _ in found:
            await services.run_store.delete("plan", key)
        after, count = found[-1][0], count + len(found)
    after = limit
    while found := await services.run_store.page("run", PAGE, after):
        for key, document in found:
            run = Run.read(document.content)
            if run.over:
                await services.run_store.delete_batches(run.id)
                await services.run_store.delete("run", key)
                count += 1
        after = found[-1][0]
    if count:
        log.info(
            "%d plans and runs of more than %g days ago are forgotten", count, services.settings.run_retention_days
        )
    return count
