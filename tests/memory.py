"""Services on in-memory storage and a fake session pool, with the helpers of `tests.stack`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from pipeline.storage.entry import LONG_AGO
from pipeline.storage.queue import Message
from pipeline.testing import FakePool, MemoryAccount, memory_services, memory_settings
from tests.stack import RECIPES, Stack


@dataclass
class Memory(Stack):
    """Services with their storage account and their session pool."""

    account: MemoryAccount
    pool: FakePool

    async def take(self) -> list[dict[str, Any]]:
        """Take the visible messages out of the job queue."""
        queue = self.account.queue(self.services.settings.job_queue)
        messages = [message async for message in queue.receive_messages()]
        for message in messages:
            await queue.delete_message(message)
        return [json.loads(message.content) for message in messages]

    async def run_queued(self, message: dict[str, Any]) -> None:
        """Execute the job of a message, as the host does when it delivers it."""
        await self.services.dispatcher.execute_message(Message(**message))

    def expire_claims(self) -> None:
        """Let all claims in the ledger expire."""
        store = self.account.store
        for key, row in store.rows:
            items = tuple((name, LONG_AGO if name == "expires" else value) for name, value in row.items)
            if items != row.items:
                store, _ = store.put_row(key, items)
        self.account.store = store

    def before_next(self, call: str, action: Callable[[], Awaitable[None]]) -> None:
        """Run an action before the next call to the pool that begins so is carried out."""
        handle, pending = self.pool.handle_async_request, [action]

        async def first(request: httpx.Request) -> httpx.Response:
            if pending and f"{request.method} {request.url.path.lstrip('/')}".startswith(call):
                await pending.pop()()
            return await handle(request)

        self.pool.handle_async_request = first  # type: ignore[method-assign]


@asynccontextmanager
async def open_in_memory(
    recipes: str = RECIPES,
    account: MemoryAccount | None = None,
    pool: FakePool | None = None,
    deployment: int = 0,
    shards: int = 2,
    **settings: Any,
) -> AsyncIterator[Memory]:
    """Open services on an account and a pool: new ones, or those of another process."""
    account, pool = account or MemoryAccount(), pool or FakePool()
    chosen = memory_settings(**{"pool_max_sessions": 2, **settings})
    async with memory_services(
        chosen, recipes, account=account, pool=pool, deployment=deployment, shards=shards
    ) as services:
        yield Memory(services, {}, account, pool)
