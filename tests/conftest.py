"""What every test may ask for."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from devstack import azurite as emulator
from devstack import child
from tests.stack import RECIPES, Stack, environment, opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def azurite() -> AsyncIterator[str]:
    """The connection string of a real storage emulator, in memory, shared by the whole test session.

    It is shared: make containers, queues and tables with names of your own.
    """
    async with emulator.running(data=None) as running:
        yield running.connection_string


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session_pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of a real session pool with sandboxed kernels, shared by the whole test session.

    It holds six sessions: end those that you start. Its log goes to a file: while a test runs in its own loop, nobody
    reads a pipe.
    """
    log = tmp_path_factory.mktemp("session-pool") / "access.log"
    argv = [sys.executable, "-m", "devstack", "session-pool", "--max-sessions", "6", "--spares", "2", "--log", log]
    async with child.running("session pool", argv) as pool:
        yield (await pool.line(r"session pool ready: (http://\S+)", timeout=60))[1]


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """The recipes of these tests."""
    path = tmp_path / "recipes.yaml"
    path.write_text(RECIPES)
    return path


@pytest.fixture
def environ(azurite: str, session_pool: str, recipe_file: Path) -> dict[str, str]:
    """The environment of a function app of one's own on the embedded stack."""
    return environment(azurite, session_pool, recipe_file)


@pytest_asyncio.fixture
async def stack(environ: dict[str, str]) -> AsyncIterator[Stack]:
    """Services with the settings above."""
    async with opened(environ) as stack:
        yield stack
