"""Fixtures of the session pool's tests: real servers with real kernels in real sandboxes."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.session_pool_emulator import specs
from tests.session_pool_emulator.running import RunningPool, running


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def shared_pool() -> AsyncIterator[RunningPool]:
    """One server for all tests that need no settings of their own; use a fresh identifier and end its session."""
    async with running("--max-sessions", "20", "--spares", "2") as pool:
        yield pool


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many answers were checked against the published documents, by operation and API version."""
    if not specs.checked:
        return
    terminalreporter.section("session pool: answers that conform to the published documents")
    columns = specs.versions()
    for operation in sorted({operation for _, operation in specs.checked}):
        counts = "".join(f"{specs.checked[version, operation] or '-':>22}" for version in columns)
        terminalreporter.write_line(f"{operation:<36}{counts}")
    terminalreporter.write_line(" " * 36 + "".join(f"{version:>22}" for version in columns))


@pytest.fixture
def identifier() -> str:
    """An identifier that nobody else uses."""
    return f"test-{secrets.token_hex(8)}"


@pytest_asyncio.fixture(loop_scope="session")
async def session(shared_pool: RunningPool, identifier: str) -> AsyncIterator[str]:
    """An identifier of the shared server whose session is ended after the test."""
    yield identifier
    await shared_pool.call("DELETE", "/session", identifier)


@pytest.fixture(scope="session")
def steady() -> str:
    """An identifier of the shared server for all tests that leave nothing behind: starting a session takes a while."""
    return "steady-session"
