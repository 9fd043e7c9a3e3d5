"""Fixtures for the tests of the session image."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from session_image import bake
from tests.session_pool_emulator.emulator import Emulator, run_emulator

ROOT = Path(__file__).parents[2]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def baked_pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Emulator]:
    """Start a pool whose sessions have the engine among their packages, as in the built image."""
    packages = tmp_path_factory.mktemp("image")
    packages.chmod(0o755)
    bake.bake(ROOT / "pipeline" / "engine", packages)
    async with run_emulator("--max-sessions", "3", "--spares", "1", "--packages", str(packages)) as pool:
        yield pool
