"""What every test may ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from devstack import azurite as emulator
from tests.stack import RECIPES, Stack, environment, opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def azurite() -> AsyncIterator[str]:
    """The connection string of a real storage emulator, in memory, shared by the whole test session.

    It is shared: make containers, queues and tables with names of your own.
    """
    async with emulator.running(data=None) as running:
        yield running.connection_string


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
