"""Faults of the platform around the app: outages, lost events and queues, writes without content, dead instances."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from tests.chaos import requests
from tests.chaos.scene import NAMES, Scene
from tests.chaos.sources import EVENTS, Sources, Touch

Fault = Callable[[Scene, Sources], Awaitable[None]]
API = "2025-10-02-preview"
RUN = "on=/executions"
# Images that are uploaded during an outage, so that jobs meet it. More than three sources open a circuit breaker.
DURING = 5


async def expire_tokens(scene: Scene, sources: Sources) -> None:
    """Let the pool reject all tokens that were issued before."""
    await scene.arm(f"expire-tokens:before={time.time():.3f}")


@contextlib.asynccontextmanager
async def _pool_unreachable(scene: Scene) -> AsyncIterator[None]:
    await scene.pool.kill()
    try:
        yield
    finally:
        await scene.pool.start()


def _pool_answers(code: int) -> Callable[[Scene], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def answers(scene: Scene) -> AsyncIterator[None]:
        fault = "status" if code == 503 else f"status:code={code}"  # as the pool writes it
        await scene.arm(fault)
        try:
            yield
        finally:
            await scene.disarm(fault)

    return answers


def _storage(trouble: str) -> Callable[[Scene], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def troubled(scene: Scene) -> AsyncIterator[None]:
        for proxy in scene.proxies.values():
            setattr(proxy, trouble, True)
        try:
            yield
        finally:
            for proxy in scene.proxies.values():
                setattr(proxy, trouble, False)

    return troubled


@contextlib.asynccontextmanager
async def _identity_away(scene: Scene) -> AsyncIterator[None]:
    scene.identity.trouble("500", scene.pace.outage)
    await scene.arm(f"expire-tokens:before={time.time():.3f}")
    yield


def _outage(kind: str, trouble: Callable[[Scene], contextlib.AbstractAsyncContextManager[None]]) -> Fault:
    """Let a service fail for three times the former backoff of a job, while images are uploaded."""

    async def strike(scene: Scene, sources: Sources) -> None:
        began = time.time()
        async with trouble(scene):
            for _ in range(DURING):
                await sources.drop(sources.new_name(), sources.good_content())
                await asyncio.sleep(scene.pace.outage / DURING)
        scene.outages.append((kind, began, time.time()))

    return strike


async def _dies_in_request(scene: Scene, sources: Sources) -> None:
    """Kill an instance while a request waits for its job."""
    host = sources.random.choice(scene.hosts)
    await scene.arm(f"latency:seconds=3,next=2,{RUN}")
    task = asyncio.create_task(requests.send(sources, host.address))
    await asyncio.sleep(sources.random.uniform(1.0, 3.0))
    await host.kill()
    await task
    await host.restart()


async def deploy(scene: Scene, sources: Sources, *, complete: bool = True) -> str:
    """Take the next step of a deployment: one host gets a new number and the other recipe version, then all hosts.

    Without `complete`, another deployment follows on the other host before the last one has reached it.

    Returns:
        The kind of the step.
    """
    behind = [host for host in scene.hosts if scene.deployments.is_outdated(host.name)]
    completes = bool(behind) and complete
    if not completes:
        scene.deployments.next()
        behind = [sources.random.choice(behind or scene.hosts)]
    for host in behind:
        stopping = time.time()
        await host.stop()
        scene.stopped.append((stopping, time.time()))
        scene.deployments.write(host.name)
        scene.deployed.append(time.time())
        scene.differ_since = scene.differ_since or time.time()
        await host.restart()
    if completes and scene.differ_since:
        scene.side_by_side.append((scene.differ_since, time.time()))
        scene.differ_since = None
    direction = "deployment" if scene.deployments.active == "second" else "rollback"
    return f"{direction}: {'completed' if completes else 'side by side'}"


def _touch(what: Touch) -> Fault:
    async def strike(scene: Scene, sources: Sources) -> None:
        await sources.touch(sources.any_name(), what)

    return strike


async def _event_lost(scene: Scene, sources: Sources) -> None:
    await sources.drop(sources.new_name(), sources.any_content(), event=False)


def _dead_lettered(*, cloud_event: bool) -> Fault:
    async def strike(scene: Scene, sources: Sources) -> None:
        name = sources.new_name()
        await sources.drop(name, sources.any_content(), event=False)
        await sources.dead_letter(name, cloud_event=cloud_event)

    return strike


async def _foreign_dead_letter(scene: Scene, sources: Sources) -> None:
    await sources.dead_letter(sources.any_name(), subscription="ANOTHER")


async def _unreadable_dead_letter(scene: Scene, sources: Sources) -> None:
    await sources.dead_letter_blob(b"[{]")


async def _trigger_gives_up(scene: Scene, sources: Sources) -> None:
    """The blob trigger uses up its deliveries within a second."""
    name = sources.new_name()
    await sources.drop(name, sources.any_content(), event=False)
    await sources.event(name, sources.versions[name][-1], "webjobs-blobtrigger-poison")


async def _unknown_field(scene: Scene, sources: Sources) -> None:
    await sources.message(sources.any_name(), field_of_a_later_version=1)


def _deleted_queues(*names: str) -> Fault:
    async def strike(scene: Scene, sources: Sources) -> None:
        await sources.delete_queues(*names)

    return strike


QUICK: dict[str, Fault] = {
    "write: metadata": _touch("metadata"),
    "write: headers": _touch("headers"),
    "write: tags": _touch("tags"),
    "write: same content": _touch("same content"),
    "event: lost": _event_lost,
    "event: given up by the trigger": _trigger_gives_up,
    "dead letter: event": _dead_lettered(cloud_event=False),
    "dead letter: CloudEvent": _dead_lettered(cloud_event=True),
    "dead letter: other subscription": _foreign_dead_letter,
    "dead letter: unreadable": _unreadable_dead_letter,
    "message: unknown field": _unknown_field,
    "queues: jobs deleted": _deleted_queues(NAMES["PIPELINE_JOB_QUEUE"]),
    "queues: runs deleted": _deleted_queues("runs"),
    "queues: events deleted": _deleted_queues(EVENTS),
    "queues: all deleted": _deleted_queues(),
}
OUTAGES = {
    "pool outage: unreachable": _pool_unreachable,
    "pool outage: 503": _pool_answers(503),
    "pool outage: 403": _pool_answers(403),
    "storage outage: unreachable": _storage("shut"),
    "storage outage: 503": _storage("busy"),
    "identity outage: 500": _identity_away,
}
SLOW: dict[str, Fault] = {
    **{kind: _outage(kind, trouble) for kind, trouble in OUTAGES.items()},
    "request: its instance dies": _dies_in_request,
}
# Faults that do not justify another execution of an image. Deployments and writes are judged on their own.
HARMLESS = {
    "write: metadata", "write: headers", "write: tags", "write: same content", "event: lost", "dead letter: event",
    "dead letter: CloudEvent", "dead letter: other subscription", "dead letter: unreadable", "message: unknown field",
    "event: given up by the trigger",
}  # fmt: skip
