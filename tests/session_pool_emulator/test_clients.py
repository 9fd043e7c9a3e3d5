"""Compatibility with published clients: each makes an unmodified round trip against the emulator."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.session_pool_emulator.emulator import REPOSITORY, run_emulator
from tests.session_pool_emulator.test_server import token

_SCRIPTS = sorted((Path(__file__).parent / "clients").glob("*_round_trip.py"))
_CLIENTS_PYTHON = Path(os.environ.get("SESSION_POOL_CLIENTS_CLIENTS_PYTHON") or REPOSITORY / ".venv-clients/bin/python")
_POOL_PATH = "/subscriptions/0-1-2/resourceGroups/rg/sessionPools/pool"


@pytest.mark.skipif(not _CLIENTS_PYTHON.exists(), reason="clients not installed: run scripts/clients")
async def test_unmodified_clients_make_a_round_trip(tmp_path: Path) -> None:
    # AutoGen imports pkg_resources in the session; the setuptools of the clients' environment includes it.
    (packages,) = (_CLIENTS_PYTHON.parent.parent / "lib").glob("python3*/site-packages")
    options = ("--require-token", "--spares", "2", "--max-sessions", "5", "--packages", str(packages))
    async with run_emulator(*options) as pool:
        errors = await asyncio.gather(*(_round_trip(script, pool.url + _POOL_PATH, tmp_path) for script in _SCRIPTS))
    assert errors == [""] * len(_SCRIPTS)


async def _round_trip(script: Path, endpoint: str, folder: Path) -> str:
    """Run a client script; return its error output, or "" if it succeeded."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "NO_PROXY": "127.0.0.1"}
    process = await asyncio.create_subprocess_exec(
        _CLIENTS_PYTHON, script, endpoint, token(), env=environment, cwd=folder,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, err = await process.communicate()
    return f"{script.name}: {err.decode()}" if process.returncode else ""
