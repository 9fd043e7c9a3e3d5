"""Fixtures: emulators in subprocesses, with kernels in sandboxes."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.session_pool_emulator import api_specs
from tests.session_pool_emulator.emulator import Emulator, run_emulator


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def shared_pool() -> AsyncIterator[Emulator]:
    """Run one emulator for all tests without special options. Use a new identifier and end its session."""
    async with run_emulator("--max-sessions", "20", "--spares", "2") as pool:
        yield pool


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report the number of validated responses by operation and API version."""
    if not api_specs.checked:
        return
    terminalreporter.section("session pool emulator: responses that conform to the published OpenAPI documents")
    columns = api_specs.versions()
    for operation in sorted({operation for _, operation in api_specs.checked}):
        counts = "".join(f"{api_specs.checked[version, operation] or '-':>22}" for version in columns)
        terminalreporter.write_line(f"{operation:<36}{counts}")
    terminalreporter.write_line(" " * 36 + "".join(f"{version:>22}" for version in columns))


@pytest.fixture
def identifier() -> str:
    """Return a unique identifier."""
    return f"test-{secrets.token_hex(8)}"


@pytest_asyncio.fixture(loop_scope="session")
async def session(shared_pool: Emulator, identifier: str) -> AsyncIterator[str]:
    """Return a unique identifier of the shared emulator, and end its session after the test."""
    yield identifier
    await shared_pool.call("DELETE", "/session", identifier)


@pytest.fixture(scope="session")
def shared_session() -> str:
    """Return an identifier for all tests that leave no state in the session; a new session takes longer."""
    return "shared-session"
