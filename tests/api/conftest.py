"""Fixtures for tests of the API: each test runs in memory and, marked `stack`, on the local stack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest

from pipeline.testing import FakePool, MemoryAccount
from tests.memory import open_in_memory
from tests.stack import Stack, open_stack

SLOTS = 2


class Backend(Protocol):
    """Storage and session pool of one test."""

    def opened(self, **settings: Any) -> AbstractAsyncContextManager[Stack]:
        """Open services like another process, with other settings than the defaults."""


@dataclass
class MemoryBackend:
    """Storage and session pool in memory."""

    account: MemoryAccount = field(default_factory=MemoryAccount)
    pool: FakePool = field(default_factory=lambda: FakePool(SLOTS))

    def opened(self, **settings: Any) -> AbstractAsyncContextManager[Stack]:
        """Open services like another process."""
        values = {"pool_max_sessions": SLOTS, **settings}
        return open_in_memory(account=self.account, pool=self.pool, **values)


@dataclass
class LocalBackend:
    """The storage emulator and the session pool emulator."""

    environ: dict[str, str]

    def opened(self, **settings: Any) -> AbstractAsyncContextManager[Stack]:
        """Open services like another process."""
        return open_stack(
            {**self.environ, **{f"PIPELINE_{name.upper()}": str(each) for name, each in settings.items()}}
        )


@pytest.fixture(params=["memory", pytest.param("stack", marks=pytest.mark.stack)])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Provide storage and session pool: both in memory, or both emulators."""
    return MemoryBackend() if request.param == "memory" else LocalBackend(request.getfixturevalue("environ"))


@pytest.fixture
async def app(backend: Backend) -> AsyncIterator[Stack]:
    """Open services with the default settings."""
    async with backend.opened() as app:
        yield app
