"""Services on in-memory storage and a fake session pool, with the helpers of `tests.stack`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.storage.ledger import Entry
from pipeline.testing import FakePool, MemoryAccount, memory_services, memory_settings
from tests.stack import RECIPES, Stack


@dataclass
class Memory(Stack):
    """Services with their storage account and their session pool."""

    account: MemoryAccount
    pool: FakePool

    def now(self, entry: Entry | None) -> Entry:
        """Return a row that must be there."""
        assert entry is not None
        return entry


@asynccontextmanager
async def opened_in_memory(
    recipes: str = RECIPES, account: MemoryAccount | None = None, pool: FakePool | None = None, **settings: Any
) -> AsyncIterator[Memory]:
    """Open services on an account and a pool: new ones, or those of another process."""
    account, pool = account or MemoryAccount(), pool or FakePool()
    async with memory_services(memory_settings(**settings), recipes, account=account, pool=pool) as services:
        yield Memory(services, {}, account, pool)
