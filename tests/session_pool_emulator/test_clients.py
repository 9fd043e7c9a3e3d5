"""Clients that other people published, unmodified, take this server for the real one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.session_pool_emulator.running import REPOSITORY, running
from tests.session_pool_emulator.test_server import token

_SCRIPTS = sorted((Path(__file__).parent / "clients").glob("*_round_trip.py"))
_PYTHON = Path(os.environ.get("SESSION_POOL_CLIENTS_PYTHON") or REPOSITORY / ".venv-clients/bin/python")
_POOL_PATH = "/subscriptions/0-1-2/resourceGroups/rg/sessionPools/pool"


@pytest.mark.skipif(not _PYTHON.exists(), reason="the clients are not installed: run scripts/clients")
async def test_unmodified_clients_make_their_round_trip(tmp_path: Path) -> None:
    async with running("--require-token", "--spares", "2", "--max-sessions", "5") as pool:
        said = await asyncio.gather(*(_round_trip(script, pool.address + _POOL_PATH, tmp_path) for script in _SCRIPTS))
    assert said == [""] * len(_SCRIPTS)


async def _round_trip(script: Path, endpoint: str, folder: Path) -> str:
    """What went wrong; nothing when all went well."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "NO_PROXY": "127.0.0.1"}
    process = await asyncio.create_subprocess_exec(
        _PYTHON, script, endpoint, token(), env=environment, cwd=folder,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, err = await process.communicate()
    return f"{script.name}: {err.decode()}" if process.returncode else ""
