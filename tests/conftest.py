"""Fixtures and markers for all tests.

`pytest -m "not stack and not slow"` selects the fast tests: they start no storage emulator, session pool or browser.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import hypothesis
import pytest
import pytest_asyncio

from devstack import azurite as emulator
from devstack import subprocesses
from tests.memory import Memory, open_in_memory
from tests.stack import RECIPES, Stack, environment, open_stack

# pytest-xdist sets the width of the terminal for its workers, and rich would wrap the output of commands at it.
os.environ.pop("COLUMNS", None)

# A busy machine makes single examples slow; the timeout of the whole test still holds.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

ROOT = Path(__file__).parent
STACK_FIXTURES = {"azurite", "session_pool", "environ", "shared_pool", "baked_pool"}
# Fixtures with two implementations, in memory and on the local stack, and the folders whose tests run on both.
BOTH = {"stack_environ", "storage_connection", "pool_endpoint"}
BOTH_FOLDERS = {"api", "pipeline", "runs", "storage", "testing"}
# In these folders every test runs on both: they hold the in-memory implementations against the real ones. In the other
# folders, the tests with the mark `both` do.
CONTRACT_FOLDERS = {"storage", "testing"}
# Folders and modules whose tests start processes, or search or wait for seconds.
SLOW_PLACES = (
    "api/test_fuzz.py",
    "azurite",
    "chaos",
    "cli/test_bulk.py",
    "cli/test_processes.py",
    "console/test_pages.py",
    "console/test_sign_in.py",
    "e2e",
    "event_grid_emulator/test_proxy.py",
    "event_grid_emulator/test_readme.py",
    "functions_host/test_loading.py",
    "functions_host/test_readme.py",
    "functions_runtime",
    "hostile",
    "hygiene/test_secrets.py",
    "isolation",
    "identity",
    "infra",
    "model/test_jobs.py",
    "model/test_slots.py",
    "session_image",
    "session_pool_emulator",
    "test_docs.py",
    "up",
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose where a test runs: in memory, on the local stack (mark `stack`), or on both (mark `both`)."""
    folder, test = Path(metafunc.module.__file__).parent.name, metafunc.definition
    in_memory = folder in BOTH_FOLDERS and not (
        test.get_closest_marker("stack") or STACK_FIXTURES & set(metafunc.fixturenames)
    )
    on_stack = not in_memory or folder in CONTRACT_FOLDERS or bool(test.get_closest_marker("both"))
    places = ["memory"] * in_memory + [pytest.param("stack", marks=pytest.mark.stack)] * on_stack
    for name in BOTH & set(metafunc.fixturenames):
        metafunc.parametrize(name, places, indirect=True)


# One test of these takes a minute or more: with several processes, they must not come last.
LONGEST_PLACES = ("chaos/", "e2e/", "model/test_slots", "console/test_pages", "api/test_fuzz", "up/")


def _place(item: pytest.Item) -> str:
    """Return the path of a test's module below `tests`, or nothing."""
    return item.path.relative_to(ROOT).as_posix() if item.path.is_relative_to(ROOT) else ""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their fixtures (`stack`) and by their place (`slow`). Start with the longest modules."""
    items.sort(key=lambda item: not _place(item).startswith(LONGEST_PLACES))
    for item in items:
        place = _place(item)
        if STACK_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("stack")
        if any(place == slow or place.startswith(f"{slow}/") for slow in SLOW_PLACES):
            item.add_marker("slow")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def azurite() -> AsyncIterator[str]:
    """Connection string of a storage emulator in memory, shared by the whole test session.

    Create containers, queues and tables under names that no other test uses.
    """
    async with emulator.running(data=None) as running:
        yield running.connection_string


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session_pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """URL of a session pool with sandboxed kernels, shared by the whole test session.

    It holds six sessions: end the sessions that a test starts. Its log goes to a file, because nothing reads a pipe
    while a test runs in its own event loop.
    """
    log = tmp_path_factory.mktemp("session-pool") / "access.log"
    argv = [sys.executable, "-m", "devstack", "session-pool", "--max-sessions", "6", "--spares", "2", "--log", log]
    async with subprocesses.running("session pool", argv) as pool:
        yield (await pool.wait_for_line(r"session pool ready: (http://\S+)", timeout=60))[1]


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """Write the recipes of these tests to a file."""
    path = tmp_path / "recipes.yaml"
    path.write_text(RECIPES)
    return path


@pytest.fixture
def environ(azurite: str, session_pool: str, recipe_file: Path) -> dict[str, str]:
    """Environment of a function app on the local stack, with containers, queues and tables for one test."""
    return environment(azurite, session_pool, recipe_file)


@pytest.fixture
def stack_environ(request: pytest.FixtureRequest) -> dict[str, str] | None:
    """Environment of the local stack, or None for in-memory services."""
    return request.getfixturevalue("environ") if request.param == "stack" else None


@pytest_asyncio.fixture
async def stack(stack_environ: dict[str, str] | None, recipe_file: Path) -> AsyncIterator[Stack]:
    """Services on the local stack; in some folders also services in memory."""
    async with open_stack(stack_environ) if stack_environ else open_in_memory(recipe_file.read_text()) as stack:
        yield stack


@pytest_asyncio.fixture
async def memory() -> AsyncIterator[Memory]:
    """Services on in-memory storage and a fake session pool."""
    async with open_in_memory() as memory:
        yield memory
