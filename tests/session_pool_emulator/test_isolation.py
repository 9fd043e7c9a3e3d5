"""Isolation, tested from inside a session, for each kind of sandbox that works on this machine."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from session_pool_emulator.inside.supervisor import descendants
from session_pool_emulator.settings import SandboxKind
from tests.session_pool_emulator.emulator import Emulator, StartError, start_emulator, stop_emulator, wait_until

pytestmark = pytest.mark.asyncio(loop_scope="module")
_MEMORY_MIB, _DATA_MIB = 256, 48


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[SandboxKind.BWRAP, SandboxKind.UNSHARE])
async def pool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Emulator]:
    """Run an emulator with one kind of sandbox and small limits."""
    kind: SandboxKind = request.param
    folder = tmp_path_factory.mktemp("pool")
    options = ("--sandbox", kind, "--max-sessions", "4", "--memory", str(_MEMORY_MIB), "--data", str(_DATA_MIB))
    try:
        started = await start_emulator(*options, "--spares", "1", log=folder / "log", stderr=folder / "err")
    except StartError:
        pytest.skip(f"{kind} does not work on this machine: {(folder / 'err').read_text().strip()}")
    yield started
    assert await stop_emulator(started) == 0


@pytest_asyncio.fixture(loop_scope="module")
async def session(pool: Emulator) -> AsyncIterator[str]:
    """Return a unique identifier, and end its session after the test."""
    identifier = f"isolated-{secrets.token_hex(8)}"
    yield identifier
    await pool.call("DELETE", "/session", identifier)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_session(pool: Emulator) -> str:
    """Return an identifier for all tests that leave no state in the session; a new session takes longer."""
    return f"shared-{pool.process.pid}"


async def json_output(pool: Emulator, session: str, code: str) -> Any:
    """Execute `code` and parse its output as JSON."""
    return json.loads(await pool.output(session, f"import json, os\n{code}"))


async def test_there_is_no_network_and_no_host_loopback(pool: Emulator, shared_session: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        code = (
            "import socket\n"
            f"def reach(host):\n    return socket.socket().connect_ex((host, {port}))\n"
            "print(json.dumps([reach('127.0.0.1'), reach('192.0.2.1'), [n for _, n in socket.if_nameindex()]]))"
        )
        loopback, outside, interfaces = await json_output(pool, shared_session, code)
    assert loopback != 0
    assert outside != 0
    assert set(interfaces) <= {"lo", "sit0", "tunl0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0"}


async def test_the_hosts_files_are_invisible(pool: Emulator, shared_session: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    hidden = [str(secret), str(Path(__file__)), "/etc/passwd", "/etc/shadow", "/var", "/home", "/sys", "/boot"]
    hidden += [str(pool.log), f"/proc/{pool.process.pid}"]
    code = f"print(json.dumps([path for path in {hidden} if os.path.exists(path)]))"
    assert await json_output(pool, shared_session, code) == []


async def test_the_hosts_folders_are_read_only(pool: Emulator, shared_session: str) -> None:
    code = (
        "import sys, ipykernel\n"
        "places = ['/', '/usr/bin', '/usr/lib', '/etc', '/dev', '/opt', sys.prefix, sys.base_prefix,"
        " os.path.dirname(ipykernel.__file__)]\n"
        "def writable(path):\n"
        "    try:\n        open(path + '/x', 'w').close()\n    except OSError:\n        return False\n    return True\n"
        "print(json.dumps([path for path in places if writable(path)]))"
    )
    assert await json_output(pool, shared_session, code) == []


async def test_there_are_no_privileges_and_none_can_be_gained(pool: Emulator, shared_session: str) -> None:
    code = (
        "status = dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines())\n"
        "names = ['CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs']\n"
        "print(json.dumps([int(status[name], 16) for name in names]))"
    )
    assert await json_output(pool, shared_session, code) == [0, 0, 0, 0, 1]
    if os.geteuid() == 0:
        assert await json_output(pool, shared_session, "print(os.getuid())") > 1_000_000_000


async def test_the_environment_has_no_secrets_of_the_server(pool: Emulator, shared_session: str) -> None:
    names = set(await json_output(pool, shared_session, "print(json.dumps(list(os.environ)))"))
    assert not {"PYTEST_CURRENT_TEST", "SSH_AUTH_SOCK", "AZURE_CLIENT_SECRET"} & names
    assert await json_output(pool, shared_session, "print(json.dumps(os.environ['HOME']))") == "/tmp"  # noqa: S108


async def test_other_sessions_files_and_processes_are_invisible(pool: Emulator, session: str) -> None:
    other = f"{session}-other"
    await pool.upload(other, "theirs.txt", b"x")
    await pool.execute(other, "import subprocess; subprocess.Popen(['sleep', '998'])")
    code = (
        "seen = [open(f'/proc/{p}/cmdline').read() for p in os.listdir('/proc') if p.isdigit()]\n"
        "print(json.dumps([os.listdir('/mnt/data'), any('998' in line for line in seen), len(seen)]))"
    )
    files, found, processes = await json_output(pool, session, code)
    await pool.call("DELETE", "/session", other)
    assert (files, found) == ([], False)
    assert processes <= 3


async def test_memory_above_the_limit_kills_the_kernel_only(pool: Emulator, session: str) -> None:
    body = await pool.execute(session, f"import time; ballast = b'x' * ({_MEMORY_MIB} << 20); time.sleep(30)")
    assert (body["status"], body["result"]["stderr"]) == ("Failed", "Execution aborted")
    assert await pool.output(session, "print('ballast' in dir())") == "False\n"


async def test_the_memory_limit_covers_all_processes(pool: Emulator, session: str) -> None:
    code = (
        "import multiprocessing, time\n"
        "def ballast():\n    kept = b'x' * (100 << 20)\n    time.sleep(30)\n"
        "group = [multiprocessing.get_context('fork').Process(target=ballast) for _ in range(4)]\n"
        "[p.start() for p in group]; [p.join() for p in group]"
    )
    body = await pool.execute(session, code)
    assert (body["status"], body["result"]["stderr"].splitlines()[-1]) == ("Failed", "Execution aborted")


async def test_the_number_of_processes_is_limited(pool: Emulator, shared_session: str) -> None:
    code = (
        "import signal, time\nchildren = []\n"
        "try:\n    while len(children) < 1000:\n"
        "        children.append(os.posix_spawn('/bin/sleep', ['sleep', '100'], {}))\n"
        "except BlockingIOError:\n    pass\n"
        "for pid in children:\n    os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)\nprint(len(children))"
    )
    assert await json_output(pool, shared_session, code) < 256


async def test_the_data_directory_has_a_quota(pool: Emulator, session: str) -> None:
    code = (
        "total = 0\n"
        "try:\n    with open('/mnt/data/a', 'wb') as a, open('/mnt/data/b', 'wb') as b:\n"
        "        while total < 1000:\n            (a if total % 2 else b).write(bytes(1 << 20)); total += 1\n"
        "except OSError as error:\n    pass\nprint(total)"
    )
    assert await json_output(pool, session, code) <= _DATA_MIB
    refused = await pool.upload(session, "more.bin", bytes(1 << 20))
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "SessionStorageFull")
    names = [entry["name"] for entry in (await pool.call("GET", "/files", session)).json()["value"]]
    assert names == ["a", "b"]


async def test_the_size_of_one_file_is_limited(pool: Emulator, shared_session: str) -> None:
    code = f"with open('/tmp/big', 'wb') as file:\n    file.truncate({_DATA_MIB + 1} << 20)"
    body = await pool.execute(shared_session, code)
    assert "File too large" in body["result"]["stderr"]


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm", "/app", "/run/session"])  # noqa: S108
async def test_every_other_writable_folder_has_a_size_limit(pool: Emulator, shared_session: str, folder: str) -> None:
    code = f"s = os.statvfs('{folder}'); print(s.f_blocks * s.f_frsize >> 20)"
    assert await json_output(pool, shared_session, code) <= 256


async def test_all_writable_file_systems_are_in_memory(pool: Emulator, session: str) -> None:
    """All writable mounts are tmpfs. The memory limit bounds their total size."""
    code = (
        "lines = [line.split() for line in open('/proc/self/mountinfo')]\n"
        "kinds = {line[4]: line[line.index('-') + 1] for line in lines}\n"
        "def writable(path):\n"
        "    try:\n        open(path + '/x', 'w').close()\n    except OSError:\n        return False\n    return True\n"
        "places = {path: kind for path, kind in kinds.items() if os.path.isdir(path) and writable(path)}\n"
        "print(json.dumps(places))"
    )
    places = await json_output(pool, session, code)
    assert {"/mnt/data", "/run/session"} <= set(places)
    assert set(places.values()) == {"tmpfs"}
    assert sum(file.stat().st_size for folder in _folders(pool) for file in folder.rglob("*") if file.is_file()) == 0
    # A session may delete its own sockets; other sessions are not affected.
    await pool.execute(session, "import shutil; shutil.rmtree('/run/session', ignore_errors=True)")


async def test_no_process_outlives_its_session(pool: Emulator, session: str) -> None:
    escape = (
        "import subprocess\n"
        "code = 'import os, time\\nif os.fork() == 0:\\n os.setsid()\\n if os.fork() == 0:\\n  time.sleep(1000)'\n"
        "subprocess.run(['python3', '-c', code])\n"
        "subprocess.Popen(['sleep', '997'], start_new_session=True)\nprint('1')"
    )
    assert await json_output(pool, session, escape) == 1
    processes = _session_processes(pool, "997")
    assert processes
    await pool.call("DELETE", "/session", session)
    assert not set(processes) & set(descendants(pool.process.pid))


async def test_deleting_a_session_frees_all_resources(pool: Emulator, session: str) -> None:
    await wait_until(lambda: len(_folders(pool)) <= 2)  # a spare, and the shared session
    counts = []
    for _ in range(3):
        await pool.upload(session, "a.bin", bytes(1 << 20))
        assert (await pool.call("DELETE", "/session", session)).status_code == 204
        await wait_until(lambda: len(_folders(pool)) <= 2)
        counts.append(_descriptors(pool))
    assert counts[2] <= counts[1] + 8  # tolerance for a spare that is starting


async def test_the_first_process_cannot_be_killed_or_traced(pool: Emulator, shared_session: str) -> None:
    code = (
        "import ctypes, signal, time\n"
        "try:\n    os.kill(1, signal.SIGKILL); os.kill(1, signal.SIGTERM)\nexcept PermissionError:\n    pass\n"
        "time.sleep(0.05)\n"
        "print(json.dumps([os.path.exists('/proc/1'), ctypes.CDLL(None).ptrace(16, 1, 0, 0)]))"
    )
    assert await json_output(pool, shared_session, code) == [True, -1]


async def test_malformed_kernel_messages_do_not_affect_the_server(pool: Emulator, session: str) -> None:
    code = (
        "from ipykernel.kernelapp import IPKernelApp\napp = IPKernelApp.instance()\n"
        "socket = app.iopub_thread.socket\n"
        "for parts in ([b'x'], [b''], [b'a', b'<IDS|MSG>', b'sig'], [b'<IDS|MSG>', b'', b'{', b'{', b'{', b'{'],"
        " [bytes(1000)] * 50):\n    socket.send_multipart(parts)\n"
        "parent = app.kernel.get_parent()\n"
        "for content in ('[1, 2]', 'null', '{}', '{\"name\": 7}', '[' * 100_000):\n"
        "    for kind in ('stream', 'execute_result', 'status', 'error'):\n"
        "        app.session.send(socket, kind, content=content, parent=parent)\n"
        "print('sent')"
    )
    body = await pool.execute(session, code)
    assert body["result"]["stdout"] == "sent\n", body
    assert await pool.output(session, "print('well')") == "well\n"


async def test_a_message_above_the_limit_costs_the_kernel_at_most(pool: Emulator, session: str) -> None:
    code = (
        "from ipykernel.kernelapp import IPKernelApp\nIPKernelApp.instance().iopub_thread.socket.send(bytes(65 << 20))"
    )
    await pool.execute(session, code, timeoutInSeconds=60)
    assert await pool.output(session, "print('well')") == "well\n"


async def test_excessive_output_is_truncated_with_bounded_memory(pool: Emulator, shared_session: str) -> None:
    body = await pool.execute(shared_session, "for _ in range(20000): print('x' * 1000)")
    assert body["status"] == "Succeeded"
    assert len(body["result"]["stdout"]) == 4096
    assert _resident(pool) < 400 << 20


def _session_processes(pool: Emulator, argument: str) -> list[int]:
    """Return the descendants of the emulator that have `argument` on their command line."""
    pids = []
    for pid in descendants(pool.process.pid):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if argument.encode() in words:
            pids.append(pid)
    return pids


def _descriptors(pool: Emulator) -> int:
    return len(list(Path(f"/proc/{pool.process.pid}/fd").iterdir()))


def _resident(pool: Emulator) -> int:
    return int(Path(f"/proc/{pool.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _folders(pool: Emulator) -> list[Path]:
    return [path for path in Path("/tmp").glob(f"session-pool-{pool.process.pid}-*/*") if path.is_dir()]  # noqa: S108
