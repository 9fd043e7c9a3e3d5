"""Storage accounts and session pools, each real and in memory: contract tests run every case on both."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from pipeline.pool.client import PoolClient
from pipeline.settings import Settings, StorageAccount
from pipeline.storage.account import Account
from pipeline.storage.provisioning import create_all
from pipeline.testing import FakePool, MemoryAccount
from tests.storage.conftest import settings

__all__ = ["settings"]


@pytest.fixture(params=["memory", pytest.param("azurite", marks=pytest.mark.stack)])
def storage(request: pytest.FixtureRequest) -> str:
    """Connection string of the storage emulator; empty for storage in memory."""
    return request.getfixturevalue("azurite") if request.param == "azurite" else ""


@pytest.fixture(params=["fake", pytest.param("emulator", marks=pytest.mark.stack)])
def sessions(request: pytest.FixtureRequest) -> str:
    """URL of the session pool emulator; empty for the fake session pool."""
    return request.getfixturevalue("session_pool") if request.param == "emulator" else ""


@pytest_asyncio.fixture
async def either_account(storage: str, settings: Settings) -> AsyncIterator[Account]:
    """Account in memory, and account of the storage emulator, with everything created."""
    account = Account.open(StorageAccount(connection_string=storage), None) if storage else MemoryAccount()
    await create_all(account, settings)
    yield account
    await account.close()


@pytest_asyncio.fixture
async def either_pool(sessions: str) -> AsyncIterator[PoolClient]:
    """Client of the fake session pool, and client of the session pool emulator."""
    settings = Settings(pool_endpoint=sessions or "http://127.0.0.1:1", retry_max_attempts=1)
    transport: httpx.AsyncBaseTransport | None = None if sessions else FakePool()
    client = PoolClient(settings, None, transport=transport)
    yield client
    await client.close()
