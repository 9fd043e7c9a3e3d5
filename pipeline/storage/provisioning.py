"""Provisioning: create the containers, queues and tables that do not exist yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pipeline.settings import Settings
from pipeline.storage.account import Account, ignore_existing, map_errors


async def create_all(account: Account, settings: Settings) -> list[str]:
    """Create missing containers, queues and tables. Returns their names, such as `queue jobs`."""
    containers = {
        settings.input_container,
        settings.output_container,
        settings.upload_container,
        settings.asset_container,
        settings.state_container,
    }
    creators: list[tuple[str, Callable[[], Awaitable[object]]]] = [
        *((f"container {name}", account.container(name).create_container) for name in sorted(containers)),
        *((f"queue {name}", account.queue(name).create_queue) for name in (settings.job_queue, settings.run_queue)),
        *((f"table {name}", account.table(name).create_table) for name in (settings.ledger_table, settings.run_table)),
    ]
    created = []
    for resource, create in creators:
        with map_errors(f"creating the {resource}"), ignore_existing():
            await create()
            created.append(resource)
    return created
