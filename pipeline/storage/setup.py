"""Making the containers, the queue and the table, where they are not there yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from azure.core.exceptions import ResourceExistsError

from pipeline.settings import Settings
from pipeline.storage.account import Account, translated


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
        (f"queue {settings.queue}", account.queue(settings.queue).create_queue),
        (f"table {settings.ledger_table}", account.table(settings.ledger_table).create_table),
    ]
    made = []
    for what, make in makers:
        with translated(f"making {what}"):
            try:
                await make()
                made.append(what)
            except ResourceExistsError:
                continue
    return made
