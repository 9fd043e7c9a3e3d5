"""Fixtures: a session pool with a vulnerable decoder, and the pipeline on it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from devstack import subprocesses
from tests.stack import Stack, environment, open_stack

RECIPES = """
recipes:
  single: {isolation: single, renditions: {out: {format: png}}}
  tenant: {isolation: tenant, renditions: {out: {format: png}}}
  shared: {renditions: {out: {format: png}}}
  shared-2: {renditions: {out: {format: png}}}
  trusted: {isolation: trusted, renditions: {out: {format: png}}}
  trusted-2: {isolation: trusted, renditions: {out: {format: png}}}
"""
MODES = ("the kernel stays", "the kernel restarts")


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """Return whether the emulator keeps a kernel for all executions of a session."""
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(mode: str, azurite: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Open services with one slot, so that the second job gets the session of the first where the level allows it."""
    folder = tmp_path_factory.mktemp("isolation")
    (folder / "recipes.yaml").write_text(RECIPES)
    argv = [sys.executable, "-m", "tests.isolation.pool", str(folder / "log")]
    argv += ["--restart-kernel"] * (mode == MODES[1])
    async with subprocesses.running("session pool", argv) as pool:
        url = (await pool.wait_for_line(r"session pool ready: (http://\S+)", timeout=60))[1]
        environ = environment(azurite, url, folder / "recipes.yaml")
        async with open_stack({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
            yield stack
