"""A storage account of one's own inside the shared emulator."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from pipeline.settings import Settings, StorageAccount
from pipeline.storage.account import Account
from pipeline.storage.provisioning import create_all


@pytest.fixture
def settings() -> Settings:
    """Settings under which nobody else's containers, queues and tables are touched."""
    own = secrets.token_hex(4)
    return Settings(
        pool_endpoint="http://127.0.0.1:1",
        input_container=f"input-{own}",
        output_container=f"output-{own}",
        upload_container=f"uploads-{own}",
        state_container=f"state-{own}",
        job_queue=f"jobs-{own}",
        ledger_table=f"ledger{own}",
        run_queue=f"runs-{own}",
        run_table=f"runs{own}",
    )


@pytest_asyncio.fixture
async def account(azurite: str, settings: Settings) -> AsyncIterator[Account]:
    """Clients of the emulator, with everything made."""
    account = Account.open(StorageAccount(connection_string=azurite), None)
    await create_all(account, settings)
    yield account
    await account.close()
