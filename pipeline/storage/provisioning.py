"""Making the containers, the queues and the tables, where they are not there yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pipeline.settings import Settings
from pipeline.storage.account import Account, ignore_existing, map_errors


async def create_all(account: Account, settings: Settings) -> list[str]:
    """Make what is missing; the names of what was made."""
    containers = {
        settings.input_container,
        settings.output_container,
        settings.upload_container,
        settings.asset_container,
        settings.state_container,
    }
    makers: list[tuple[str, Callable[[], Awaitable[object]]]] = [
        *((f"container {name}", account.container(name).create_container) for name in sorted(containers)),
        *((f"queue {name}", account.queue(name).create_queue) for name in (settings.job_queue, settings.run_queue)),
        *((f"table {name}", account.table(name).create_table) for name in (settings.ledger_table, settings.run_table)),
    ]
    made = []
    for what, make in makers:
        with map_errors(f"making {what}"), ignore_existing():
            await make()
            made.append(what)
    return made
