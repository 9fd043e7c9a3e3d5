"""Storage accounts for one test each: in memory, and in the shared storage emulator."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from pipeline.settings import Settings, StorageAccount
from pipeline.storage.account import Account, create_all
from pipeline.testing import MemoryAccount


@pytest.fixture
def settings() -> Settings:
    """Settings with containers, queues and tables that no other test uses."""
    own = secrets.token_hex(4)
    return Settings(
        pool_endpoint="http://127.0.0.1:1",
        input_container=f"input-{own}",
        output_container=f"output-{own}",
        upload_container=f"uploads-{own}",
        asset_container=f"assets-{own}",
        state_container=f"state-{own}",
        job_queue=f"jobs-{own}",
        ledger_table=f"ledger{own}",
        run_queue=f"runs-{own}",
        run_table=f"runs{own}",
    )


@pytest.fixture
def storage_connection(request: pytest.FixtureRequest) -> str:
    """Connection string of the storage emulator; empty for storage in memory."""
    return request.getfixturevalue("azurite") if request.param == "stack" else ""


@pytest_asyncio.fixture
async def account(storage_connection: str, settings: Settings) -> AsyncIterator[Account]:
    """Account in memory, and account of the storage emulator, with everything created."""
    emulated = StorageAccount(connection_string=storage_connection)
    account = Account.open(emulated, None) if storage_connection else MemoryAccount()
    await create_all(account, settings)
    yield account
    await account.close()


@pytest_asyncio.fixture
async def real_account(azurite: str, settings: Settings) -> AsyncIterator[Account]:
    """Account of the storage emulator, with everything created."""
    account = Account.open(StorageAccount(connection_string=azurite), None)
    await create_all(account, settings)
    yield account
    await account.close()
