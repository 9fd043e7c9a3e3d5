"""Faults by kind; each one harms a running stack in one way."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import psutil

from tests.chaos import platform
from tests.chaos.identity import LIFETIME
from tests.chaos.platform import API, RUN, Fault, expire_tokens
from tests.chaos.scene import LEASE, WRITTEN_DOWN, Scene
from tests.chaos.sources import Sources

UPLOAD, DOWNLOAD = "on=/files,method=POST", "on=/content,method=GET"
FILL = """
with open("/mnt/data/filler", "wb") as file:
    try:
        while True:
            file.write(bytes(1 << 20))
    except OSError:
        pass
"""


def _pool(*faults: str) -> Fault:
    async def strike(scene: Scene, sources: Sources) -> None:
        await scene.arm(sources.random.choice(faults))

    return strike


def _storage(fault: str, times: int = 1) -> Fault:
    async def strike(scene: Scene, sources: Sources) -> None:
        scene.proxies[sources.random.choice(sorted(scene.proxies))].arm(fault, times)

    return strike


async def _capacity(scene: Scene, sources: Sources) -> None:
    await scene.arm("capacity:sessions=1")
    await asyncio.sleep(3)
    await scene.calm()


def _identity(trouble: str) -> Fault:
    """The identity service fails for some seconds, and all tokens issued before become invalid."""

    async def strike(scene: Scene, sources: Sources) -> None:
        scene.identity.trouble(trouble, sources.random.uniform(3, 9))
        await expire_tokens(scene, sources)

    return strike


async def _identity_away(scene: Scene, sources: Sources) -> None:
    """The identity service fails for longer than the lifetime of a token."""
    scene.identity.trouble("500", LIFETIME + 5)


async def _kill_host(scene: Scene, sources: Sources) -> None:
    host = sources.random.choice(scene.hosts)
    await host.kill()
    await host.restart()


async def _kill_pool(scene: Scene, sources: Sources) -> None:
    await scene.pool.kill()
    await scene.pool.start()


async def _kill_kernel(scene: Scene, sources: Sources) -> None:
    if kernels := scene.kernels():
        with contextlib.suppress(psutil.NoSuchProcess):
            sources.random.choice(kernels).kill()


async def _kill_storage(scene: Scene, sources: Sources) -> None:
    """Block storage before the kill: the emulator, unlike the service, acknowledges writes before they are on disk."""
    async with scene.writing:
        for proxy in scene.proxies.values():
            proxy.shut = True
        await asyncio.sleep(WRITTEN_DOWN)
        await scene.storage.kill()
        await scene.storage.start()
        for proxy in scene.proxies.values():
            proxy.shut = False


async def _freeze_host(scene: Scene, sources: Sources) -> None:
    with sources.random.choice(scene.hosts).frozen():
        await asyncio.sleep(LEASE + 4)


async def _duplicate_event(scene: Scene, sources: Sources) -> None:
    name = sources.any_name()
    await sources.event(name, sources.versions[name][-1])


async def _late_event(scene: Scene, sources: Sources) -> None:
    name = sources.any_name()
    await sources.event(name, sources.versions[name][0])


async def _redelivered(scene: Scene, sources: Sources) -> None:
    await sources.message(sources.any_name())


async def _overwritten(scene: Scene, sources: Sources) -> None:
    await sources.drop(sources.any_name(), sources.any_content())


async def _deleted(scene: Scene, sources: Sources) -> None:
    await sources.delete(sources.any_name())


async def _disk_full(scene: Scene, sources: Sources) -> None:
    used = [slot for slot in await sources.slots() if slot.get("identifier") and slot.get("state") == "in use"]
    if not used:
        return
    query = {"api-version": API, "identifier": str(sources.random.choice(used)["identifier"])}
    body = {"codeInputType": "Inline", "executionType": "Synchronous", "code": FILL, "timeoutInSeconds": 20}
    with contextlib.suppress(httpx.HTTPError):
        await scene.call("POST", "/executions", params=query, json=body)


# Frequent faults; the ones below take long and are rare.
QUICK: dict[str, Fault] = {
    "pool: latency": _pool("latency:seconds=1.5,next=3"),
    "pool: 429": _pool(f"status:code=429,next=2,{UPLOAD}", f"status:code=429,next=1,{RUN}"),
    "pool: 500": _pool(f"status:code=500,next=2,{UPLOAD}", f"status:code=500,next=1,{RUN}"),
    "pool: 503": _pool(f"status:code=503,retry_after=1,next=2,{DOWNLOAD}", f"status:code=503,next=1,{RUN}"),
    "pool: 401": _pool(f"status:code=401,next=1,{UPLOAD}", f"status:code=401,next=1,{RUN}"),
    "pool: dropped": _pool(f"drop:next=1,{UPLOAD}", f"drop:next=1,{RUN}", f"drop:next=1,{DOWNLOAD}"),
    "pool: truncated": _pool(f"truncate:next=1,{RUN}", f"truncate:next=1,{DOWNLOAD}"),
    "pool: hang": _pool(f"hang:next=1,{UPLOAD}", f"hang:next=1,{DOWNLOAD}"),
    "pool: kernel dies in a run": _pool("kill-kernel:next=1"),
    "pool: session replaced": _pool(f"replace-session:next=1,{RUN}", f"replace-session:next=1,{DOWNLOAD}"),
    "pool: file lost": _pool(f"lose-file:next=1,{RUN}", f"lose-file:next=1,{DOWNLOAD}"),
    "pool: slow start": _pool("slow-start:seconds=3,next=1"),
    "tokens: all expire at once": expire_tokens,
    "identity: 500": _identity("500"),
    "identity: 429": _identity("429"),
    "identity: refuses": _identity("refuses"),
    "identity: slow": _identity("slow"),
    "identity: hangs": _identity("hangs"),
    "storage: 503": _storage("busy", 2),
    "storage: answer lost": _storage("lost answer"),
    "storage: sent twice (409, 412)": _storage("sent twice"),
    "storage: slow": _storage("slow", 3),
    "storage: cut off": _storage("cut off"),
    "event: twice": _duplicate_event,
    "event: late": _late_event,
    "message: delivered again": _redelivered,
    "source: overwritten": _overwritten,
    "source: deleted": _deleted,
    "disk of a session full": _disk_full,
    **platform.QUICK,
    "kill -9: an interpreter": _kill_kernel,
}
SLOW: dict[str, Fault] = {
    "kill -9: a function host": _kill_host,
    "kill -9: the session pool": _kill_pool,
    "kill -9: storage": _kill_storage,
    "a host stands still": _freeze_host,
    "pool: capacity shrinks": _capacity,
    "identity: away for long": _identity_away,
    **platform.SLOW,
}
# Faults that do not justify another execution of an image.
HARMLESS = {
    "event: twice", "event: late", "message: delivered again", "source: overwritten", "source: deleted",
    "pool: latency", "pool: slow start", "storage: slow", "pool: capacity shrinks", *platform.HARMLESS,
}  # fmt: skip
# Slow faults that a short run leaves out, so that it has time for one of each other family.
LONG = {"kill -9: storage", "a host stands still", "identity: away for long", "pool: capacity shrinks"}
