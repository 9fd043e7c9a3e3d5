"""Isolation between the jobs of a session: code of one job searches real sessions for traces of another one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from pipeline.storage.ledger import Entry
from tests.images import image_bytes
from tests.stack import Stack, environment, open_stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEAVE = """
import atexit, builtins, ctypes, json, os, resource, signal, subprocess, sys, threading, time, zipimport
from PIL import Image

def everything(*_, **__):
    raise Exception("MARK was here")

def transform(image, params):
    for folder in ("/mnt/data", "/tmp", "/dev/shm", *map(os.environ.get, ("HOME", "IPYTHONDIR", "PWD"))):
        for name in ("MARK.txt", "json.py", "sitecustomize.py", "in-000000000000.bin"):
            try:
                open(f"{folder}/{name}", "w").write("MARK")
            except OSError:
                pass
    os.symlink("/", "/mnt/data/MARK-link")
    os.link("/mnt/data/MARK.txt", "/mnt/data/MARK-twice")
    with open("/mnt/data/MARK-huge", "wb") as huge:
        huge.truncate(1 << 28)
    builtins.MARK = sys.modules["MARK"] = Image.MARK = "MARK"
    os.environ["MARK"] = "MARK"
    threading.Thread(target=time.sleep, args=(1000,), name="MARK", daemon=True).start()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(1000)
        os._exit(0)
    subprocess.Popen(["sleep", "961"], start_new_session=True)
    atexit.register(everything)
    os.chdir("/tmp"), os.umask(0o777), sys.path.insert(0, "/mnt/data")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    Image.open = Image.Image.load = zipimport.zipimporter.get_code = everything
    return image
"""

LOOK = """
import builtins, json, os, resource, signal, sys, threading, zipimport
from PIL import Image

def transform(image, params):
    umask = os.umask(0o22)
    os.umask(umask)
    # Stay on the same file system: this Python may be mounted below /tmp.
    files = [path + "/" + name for place in ("/mnt/data", "/tmp", "/dev/shm") for path, _, names in os.walk(place)
             if os.lstat(path).st_dev == os.lstat(place).st_dev for name in names]
    lines = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            lines[pid] = open(f"/proc/{pid}/cmdline").read()
        except OSError:
            pass
    seen = {
        "files": sorted(files),
        "marks": [name for name, place in (("builtins", vars(builtins)), ("modules", sys.modules), ("pillow",
                  vars(Image)), ("environment", os.environ)) if "MARK" in place],
        "threads": sum(thread.name == "MARK" for thread in threading.enumerate()),
        "processes": [line for line in lines.values() if "961" in line],
        "count": len(lines),
        "cwd": os.getcwd(),
        "umask": umask,
        "path": sys.path[0],
        "term": signal.getsignal(signal.SIGTERM) == signal.SIG_IGN,
        "open files": resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 64,
        "patched": [f.__name__ for f in (Image.open, Image.Image.load, zipimport.zipimporter.get_code)
                    if f.__name__ == "everything"],
    }
    raise Exception("SEEN" + json.dumps(seen) + "SEEN")
"""


def code(source: str) -> str:
    return json.dumps([{"code": {"source": source, "params": {"about": "x"}, "megabytes": 2048}}])


RECIPES = f"""
recipes:
  leave:
    transforms: {code(LEAVE)}
    renditions: {{out: {{format: png}}}}
  look:
    transforms: {code(LOOK)}
    renditions: {{out: {{format: png}}}}
  secret:
    transforms: [{{text: {{text: "SECRET-OF-ANOTHER"}}}}]
    renditions: {{out: {{format: png}}}}
  plain:
    renditions: {{out: {{format: png}}}}
  alone:
    isolation: single
    renditions: {{out: {{format: png}}}}
"""
NAMES = iter(range(10_000))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(azurite: str, session_pool: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Open services with one slot, so that every job gets the same slot."""
    recipe_file = tmp_path_factory.mktemp("hygiene") / "recipes.yaml"
    recipe_file.write_text(RECIPES)
    environ = environment(azurite, session_pool, recipe_file)
    own = {"PIPELINE_POOL_MAX_SESSIONS": "1", "PIPELINE_ALLOW_CODE": "true"}
    async with open_stack({**environ, **own}) as stack:
        yield stack


async def run(stack: Stack, recipe: str) -> Entry:
    name = f"{next(NAMES)}.png"
    await stack.upload(name, image_bytes(60, 40, "PNG"))
    services = stack.services
    return await services.executor.execute(services.settings.input_container, name, services.recipes.get(recipe))


async def slot(stack: Stack) -> dict[str, Any]:
    """Return the document of the only slot."""
    container = stack.services.account.container(stack.services.settings.state_container)
    (name,) = [blob.name async for blob in container.list_blobs() if blob.name.startswith("slots/")]
    document: dict[str, Any] = json.loads(await (await container.download_blob(name)).readall())
    return document


async def look(stack: Stack) -> dict[str, Any]:
    """Execute a job with code; return the traces that it finds."""
    entry = await run(stack, "look")
    assert entry.error_kind == "code_failed", entry.error_message
    seen: dict[str, Any] = json.loads(entry.error_message.rsplit("SEEN", 2)[1])
    return seen


def assert_no_traces(seen: dict[str, Any]) -> None:
    assert not [path for path in seen["files"] if "MARK" in path or path.endswith((".py", "000000000000.bin"))]
    ours = [path.rpartition("/")[2] for path in seen["files"] if path.startswith("/mnt/data")]
    assert sorted(name.split("-")[0] for name in ours) in (["engine", "in"], ["in"])
    assert (seen["marks"], seen["threads"], seen["processes"], seen["patched"]) == ([], 0, [], [])
    assert not seen["cwd"].startswith("/tmp")  # noqa: S108 - in the session
    assert (seen["umask"], seen["term"], seen["open files"]) == (0o22, False, False)
    assert seen["path"] != "/mnt/data"


async def test_a_job_with_code_shares_nothing_with_other_jobs(stack: Stack) -> None:
    assert (await run(stack, "secret")).state == "done"
    assert_no_traces(await look(stack))
    assert "MARK was here" in (await run(stack, "leave")).error_message, "the code has run to its end"
    assert_no_traces(await look(stack))
    for recipe in ("plain", "alone"):
        await run(stack, "leave")
        assert (await run(stack, recipe)).state == "done"


BREAK_INS = {
    "a file": "import os; open('/mnt/data/loot', 'w').close(); os.utime('/mnt/data/loot', (1e9, 1e9))",
    "a link": "import os; os.symlink('/', '/mnt/data/in-ffffffffffff.bin')",
    "a second name": "import os, glob; os.link(glob.glob('/mnt/data/engine-*')[0], '/mnt/data/out-f-0.png')",
    "a module": "open('/mnt/data/PIL.py', 'w').write('')",
    "Pillow": "from PIL import Image; Image.open = lambda *a, **k: Image.new('RGB', (1, 1))",
    "a method": "from PIL import Image; Image.Image.load = lambda self: None",
    "the importer": "import zipimport; zipimport.zipimporter.get_code = None",
    "the engine": "import sys; next(m for n, m in sys.modules.items() if n[-15:] == '.execution.jobs').main = None",
}


@pytest.mark.parametrize("what", BREAK_INS)
async def test_a_compromised_session_is_replaced_before_the_next_job(stack: Stack, what: str) -> None:
    """Run arbitrary code in a shared session, as an exploit of a decoder would."""
    assert (await run(stack, "plain")).state == "done"
    before = await slot(stack)
    assert (await stack.services.pool.execute(before["identifier"], BREAK_INS[what], 20)).ok
    entry = await run(stack, "plain")
    assert (entry.state, entry.error_kind, entry.attempts) == ("done", "", 1)
    after = await slot(stack)
    assert after["identifier"] != before["identifier"]
    assert after["generation"] == before["generation"] + 1


async def test_a_session_with_a_leftover_thread_is_replaced(stack: Stack) -> None:
    """Register a decoder that leaves a thread behind, as an exploit would while an image is opened."""
    assert (await run(stack, "plain")).state == "done"
    before = await slot(stack)
    use = (
        "import threading, time\nfrom PIL import Image\nold = Image.OPEN['PNG'][0]\n"
        "def factory(*a):\n    threading.Thread(target=time.sleep, args=(100,)).start()\n    return old(*a)\n"
        "Image.OPEN['PNG'] = (factory, Image.OPEN['PNG'][1])"
    )
    assert (await stack.services.pool.execute(before["identifier"], use, 20)).ok
    assert (await run(stack, "plain")).state == "done"
    assert (await run(stack, "plain")).state == "done"
    assert (await slot(stack))["generation"] == before["generation"] + 1
