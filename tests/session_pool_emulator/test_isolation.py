"""What a session can reach, tried from inside, for every kind of sandbox that works on this machine."""

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
from tests.session_pool_emulator.running import NotReadyError, RunningPool, start, stop, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
_MEMORY, _DATA = 256, 48


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[SandboxKind.BWRAP, SandboxKind.UNSHARE])
async def pool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningPool]:
    """A server whose sessions are shut in by one kind of sandbox, with small limits."""
    kind: SandboxKind = request.param
    folder = tmp_path_factory.mktemp("pool")
    options = ("--sandbox", kind, "--max-sessions", "4", "--memory", str(_MEMORY), "--data", str(_DATA))
    try:
        started = await start(*options, "--spares", "1", log=folder / "log", stderr=folder / "err")
    except NotReadyError:
        pytest.skip(f"{kind} does not work on this machine: {(folder / 'err').read_text().strip()}")
    yield started
    assert await stop(started) == 0


@pytest_asyncio.fixture(loop_scope="module")
async def session(pool: RunningPool) -> AsyncIterator[str]:
    """An identifier whose session is ended after the test."""
    identifier = f"isolated-{secrets.token_hex(8)}"
    yield identifier
    await pool.call("DELETE", "/session", identifier)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def steady(pool: RunningPool) -> str:
    """An identifier for all tests that leave nothing behind: starting a session takes a while."""
    return f"steady-{pool.process.pid}"


async def answer(pool: RunningPool, session: str, code: str) -> Any:
    """What `code` prints, as JSON."""
    return json.loads(await pool.output(session, f"import json, os\n{code}"))


async def test_there_is_no_network_not_even_the_hosts_loopback(pool: RunningPool, steady: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        code = (
            "import socket\n"
            f"def reach(host):\n    return socket.socket().connect_ex((host, {port}))\n"
            "print(json.dumps([reach('127.0.0.1'), reach('192.0.2.1'), [n for _, n in socket.if_nameindex()]]))"
        )
        loopback, outside, interfaces = await answer(pool, steady, code)
    assert loopback != 0
    assert outside != 0
    assert set(interfaces) <= {"lo", "sit0", "tunl0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0"}


async def test_the_hosts_files_are_not_there(pool: RunningPool, steady: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    hidden = [str(secret), str(Path(__file__)), "/etc/passwd", "/etc/shadow", "/var", "/home", "/sys", "/boot"]
    hidden += [str(pool.log), f"/proc/{pool.process.pid}"]
    code = f"print(json.dumps([path for path in {hidden} if os.path.exists(path)]))"
    assert await answer(pool, steady, code) == []


async def test_nothing_of_the_host_can_be_written(pool: RunningPool, steady: str) -> None:
    code = (
        "import sys, ipykernel\n"
        "places = ['/', '/usr/bin', '/usr/lib', '/etc', '/dev', '/opt', sys.prefix, sys.base_prefix,"
        " os.path.dirname(ipykernel.__file__)]\n"
        "def writable(path):\n"
        "    try:\n        open(path + '/x', 'w').close()\n    except OSError:\n        return False\n    return True\n"
        "print(json.dumps([path for path in places if writable(path)]))"
    )
    assert await answer(pool, steady, code) == []


async def test_there_are_no_privileges_and_none_to_be_had(pool: RunningPool, steady: str) -> None:
    code = (
        "status = dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines())\n"
        "names = ['CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs']\n"
        "print(json.dumps([int(status[name], 16) for name in names]))"
    )
    assert await answer(pool, steady, code) == [0, 0, 0, 0, 1]
    if os.geteuid() == 0:
        assert await answer(pool, steady, "print(os.getuid())") > 1_000_000_000


async def test_the_servers_secrets_are_not_in_the_environment(pool: RunningPool, steady: str) -> None:
    names = set(await answer(pool, steady, "print(json.dumps(list(os.environ)))"))
    assert not {"PYTEST_CURRENT_TEST", "SSH_AUTH_SOCK", "AZURE_CLIENT_SECRET"} & names
    assert await answer(pool, steady, "print(json.dumps(os.environ['HOME']))") == "/tmp"  # noqa: S108


async def test_other_sessions_files_and_processes_are_invisible(pool: RunningPool, session: str) -> None:
    other = f"{session}-other"
    await pool.put(other, "theirs.txt", b"x")
    await pool.run(other, "import subprocess; subprocess.Popen(['sleep', '998'])")
    code = (
        "seen = [open(f'/proc/{p}/cmdline').read() for p in os.listdir('/proc') if p.isdigit()]\n"
        "print(json.dumps([os.listdir('/mnt/data'), any('998' in line for line in seen), len(seen)]))"
    )
    files, found, processes = await answer(pool, session, code)
    await pool.call("DELETE", "/session", other)
    assert (files, found) == ([], False)
    assert processes <= 3


async def test_memory_over_the_limit_costs_the_kernel_and_not_the_server(pool: RunningPool, session: str) -> None:
    body = await pool.run(session, f"import time; hoard = b'x' * ({_MEMORY} << 20); time.sleep(30)")
    assert (body["status"], body["result"]["stderr"]) == ("Failed", "Execution aborted")
    assert await pool.output(session, "print('hoard' in dir())") == "False\n"


async def test_memory_counts_over_all_processes(pool: RunningPool, session: str) -> None:
    code = (
        "import multiprocessing, time\n"
        "def hoard():\n    kept = b'x' * (100 << 20)\n    time.sleep(30)\n"
        "group = [multiprocessing.get_context('fork').Process(target=hoard) for _ in range(4)]\n"
        "[p.start() for p in group]; [p.join() for p in group]"
    )
    body = await pool.run(session, code)
    assert (body["status"], body["result"]["stderr"].splitlines()[-1]) == ("Failed", "Execution aborted")


async def test_there_is_a_limit_on_processes(pool: RunningPool, steady: str) -> None:
    code = (
        "import signal, time\nchildren = []\n"
        "try:\n    while len(children) < 1000:\n"
        "        children.append(os.posix_spawn('/bin/sleep', ['sleep', '100'], {}))\n"
        "except BlockingIOError:\n    pass\n"
        "for pid in children:\n    os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)\nprint(len(children))"
    )
    assert await answer(pool, steady, code) < 256


async def test_the_data_directory_has_a_quota(pool: RunningPool, session: str) -> None:
    code = (
        "total = 0\n"
        "try:\n    with open('/mnt/data/a', 'wb') as a, open('/mnt/data/b', 'wb') as b:\n"
        "        while total < 1000:\n            (a if total % 2 else b).write(bytes(1 << 20)); total += 1\n"
        "except OSError as error:\n    pass\nprint(total)"
    )
    assert await answer(pool, session, code) <= _DATA
    refused = await pool.put(session, "more.bin", bytes(1 << 20))
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "SessionStorageFull")
    names = [entry["name"] for entry in (await pool.call("GET", "/files", session)).json()["value"]]
    assert names == ["a", "b"]


async def test_one_file_has_a_limit_too(pool: RunningPool, steady: str) -> None:
    code = f"with open('/tmp/big', 'wb') as file:\n    file.truncate({_DATA + 1} << 20)"
    body = await pool.run(steady, code)
    assert "File too large" in body["result"]["stderr"]


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm", "/app", "/run/session"])  # noqa: S108
async def test_no_other_place_takes_more_than_it_may(pool: RunningPool, steady: str, folder: str) -> None:
    code = f"s = os.statvfs('{folder}'); print(s.f_blocks * s.f_frsize >> 20)"
    assert await answer(pool, steady, code) <= 256


async def test_what_a_session_writes_lies_in_memory_and_on_no_disk_of_the_host(pool: RunningPool, session: str) -> None:
    """Every mount that it can write to is a file system of its own; only its memory bounds what they take together."""
    code = (
        "lines = [line.split() for line in open('/proc/self/mountinfo')]\n"
        "kinds = {line[4]: line[line.index('-') + 1] for line in lines}\n"
        "def writable(path):\n"
        "    try:\n        open(path + '/x', 'w').close()\n    except OSError:\n        return False\n    return True\n"
        "places = {path: kind for path, kind in kinds.items() if os.path.isdir(path) and writable(path)}\n"
        "print(json.dumps(places))"
    )
    places = await answer(pool, session, code)
    assert {"/mnt/data", "/run/session"} <= set(places)
    assert set(places.values()) == {"tmpfs"}
    assert sum(file.stat().st_size for folder in _folders(pool) for file in folder.rglob("*") if file.is_file()) == 0
    # Its sockets are its own to break; the next session does not notice.
    await pool.run(session, "import shutil; shutil.rmtree('/run/session', ignore_errors=True)")


async def test_nothing_outlives_its_session(pool: RunningPool, session: str) -> None:
    escape = (
        "import subprocess\n"
        "code = 'import os, time\\nif os.fork() == 0:\\n os.setsid()\\n if os.fork() == 0:\\n  time.sleep(1000)'\n"
        "subprocess.run(['python3', '-c', code])\n"
        "subprocess.Popen(['sleep', '997'], start_new_session=True)\nprint('1')"
    )
    assert await answer(pool, session, escape) == 1
    mine = _session_processes(pool, "997")
    assert mine
    await pool.call("DELETE", "/session", session)
    assert not set(mine) & set(descendants(pool.process.pid))


async def test_deleting_a_session_frees_everything(pool: RunningPool, session: str) -> None:
    await until(lambda: len(_folders(pool)) <= 2)  # a spare, and the steady one
    counts = []
    for _ in range(3):
        await pool.put(session, "a.bin", bytes(1 << 20))
        assert (await pool.call("DELETE", "/session", session)).status_code == 204
        await until(lambda: len(_folders(pool)) <= 2)
        counts.append(_descriptors(pool))
    assert counts[2] <= counts[1] + 8  # a spare may just be starting


async def test_the_first_process_cannot_be_killed_or_traced(pool: RunningPool, steady: str) -> None:
    code = (
        "import ctypes, signal, time\n"
        "try:\n    os.kill(1, signal.SIGKILL); os.kill(1, signal.SIGTERM)\nexcept PermissionError:\n    pass\n"
        "time.sleep(0.05)\n"
        "print(json.dumps([os.path.exists('/proc/1'), ctypes.CDLL(None).ptrace(16, 1, 0, 0)]))"
    )
    assert await answer(pool, steady, code) == [True, -1]


async def test_garbage_on_the_kernels_own_connections_costs_at_most_the_session(
    pool: RunningPool, session: str
) -> None:
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
    body = await pool.run(session, code)
    assert body["result"]["stdout"] == "sent\n", body
    assert await pool.output(session, "print('well')") == "well\n"


async def test_a_message_over_the_limit_costs_the_kernel_at_most(pool: RunningPool, session: str) -> None:
    code = (
        "from ipykernel.kernelapp import IPKernelApp\nIPKernelApp.instance().iopub_thread.socket.send(bytes(65 << 20))"
    )
    await pool.run(session, code, timeoutInSeconds=60)
    assert await pool.output(session, "print('well')") == "well\n"


async def test_a_flood_of_output_is_cut_and_the_server_stays_small(pool: RunningPool, steady: str) -> None:
    body = await pool.run(steady, "for _ in range(20000): print('x' * 1000)")
    assert body["status"] == "Succeeded"
    assert len(body["result"]["stdout"]) == 4096
    assert _resident(pool) < 400 << 20


def _session_processes(pool: RunningPool, argument: str) -> list[int]:
    """The server's descendants that have `argument` on their command line."""
    found = []
    for pid in descendants(pool.process.pid):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if argument.encode() in words:
            found.append(pid)
    return found


def _descriptors(pool: RunningPool) -> int:
    return len(list(Path(f"/proc/{pool.process.pid}/fd").iterdir()))


def _resident(pool: RunningPool) -> int:
    return int(Path(f"/proc/{pool.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _folders(pool: RunningPool) -> list[Path]:
    return [path for path in Path("/tmp").glob(f"session-pool-{pool.process.pid}-*/*") if path.is_dir()]  # noqa: S108
