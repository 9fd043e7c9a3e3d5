"""The mode `--restart-kernel`: a new kernel process for each execution, in a session that goes on."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.session_pool_emulator.emulator import Emulator, run_emulator

pytestmark = pytest.mark.asyncio(loop_scope="module")

DETACH = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while not os.path.exists("/mnt/data/question"):
            time.sleep(0.01)
        os.rename("/mnt/data/question", "/mnt/data/answer")
    os._exit(0)
os.wait()
"""
PLANT = """
import os, site
for path, code in (
    (f"{site.getusersitepackages()}/planted.pth", "import os; os.environ['PLANTED'] = 'pth'"),
    (f"{site.getusersitepackages()}/usercustomize.py", "import os; os.environ['PLANTED'] += ' usercustomize'"),
    (f"{os.environ['HOME']}/.ipython/profile_default/startup/00.py", "import os; os.environ['PLANTED'] += ' startup'"),
):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "w").write(code)
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[Emulator]:
    """Run an emulator that restarts the kernel after each execution."""
    async with run_emulator("--restart-kernel", "--max-sessions", "2", "--spares", "1") as pool:
        yield pool


@pytest_asyncio.fixture(loop_scope="module")
async def session(pool: Emulator) -> AsyncIterator[str]:
    """Return a unique identifier, and end its session after the test."""
    identifier = f"restarted-{secrets.token_hex(8)}"
    yield identifier
    await pool.call("DELETE", "/session", identifier)


async def test_files_survive_and_variables_do_not(pool: Emulator, session: str) -> None:
    await pool.output(session, "import os; x = 1; open('/mnt/data/kept', 'w').write(str(os.getpid()))")
    code = "import os; print('x' in globals(), open('/mnt/data/kept').read() == str(os.getpid()))"
    assert await pool.output(session, code) == "False False\n"
    assert pool.events("kernel-restarted") == [], "a restart by the mode is no loss of a kernel"


async def test_a_detached_process_survives(pool: Emulator, session: str) -> None:
    await pool.output(session, DETACH)
    await pool.upload(session, "question", b"are you there?")
    wait = "import os, time\nwhile not os.path.exists('/mnt/data/answer'): time.sleep(0.01)\nprint('answered')"
    assert await pool.output(session, wait) == "answered\n"


async def test_the_next_kernel_reads_start_up_files(pool: Emulator, session: str) -> None:
    await pool.output(session, PLANT)
    assert await pool.output(session, "import os; print(os.environ['PLANTED'])") == "pth usercustomize startup\n"


async def test_a_failed_or_stopped_execution_restarts_the_kernel_as_well(pool: Emulator, session: str) -> None:
    assert (await pool.execute(session, "x = 1; 1 / 0"))["status"] == "Failed"
    assert await pool.output(session, "print('x' in globals())") == "False\n"
    await pool.execute(session, "x = 1; __import__('time').sleep(60)", timeoutInSeconds=1)
    assert await pool.output(session, "print('x' in globals())") == "False\n"
