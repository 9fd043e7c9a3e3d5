"""What every test may ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from devstack import azurite as emulator


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def azurite() -> AsyncIterator[str]:
    """The connection string of a real storage emulator, in memory, shared by the whole test session.

    It is shared: make containers, queues and tables with names of your own.
    """
    async with emulator.running(data=None) as running:
        yield running.connection_string
