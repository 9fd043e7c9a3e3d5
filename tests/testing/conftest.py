"""Storage accounts and session pools, each real and in memory: contract tests run every case on both."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from pipeline.pool.client import PoolClient
from pipeline.settings import Settings
from pipeline.testing import FakePool
from tests.storage.conftest import account, real_account, settings, storage_connection

__all__ = ["account", "real_account", "settings", "storage_connection"]


@pytest.fixture
def pool_endpoint(request: pytest.FixtureRequest) -> str:
    """URL of the session pool emulator; empty for the fake session pool."""
    return request.getfixturevalue("session_pool") if request.param == "stack" else ""


@pytest_asyncio.fixture
async def pool(pool_endpoint: str) -> AsyncIterator[PoolClient]:
    """Client of the fake session pool, and client of the session pool emulator."""
    settings = Settings(pool_endpoint=pool_endpoint or "http://127.0.0.1:1", retry_max_attempts=1)
    transport: httpx.AsyncBaseTransport | None = None if pool_endpoint else FakePool()
    client = PoolClient(settings, None, transport=transport)
    yield client
    await client.close()
