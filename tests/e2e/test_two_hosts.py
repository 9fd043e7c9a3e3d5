"""Two function hosts share a storage account and a pool of five sessions: no job is lost, none is done twice."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from devstack import azurite as emulator
from devstack import subprocesses
from pipeline.storage.keys import key_range
from pipeline.storage.ledger import Entry
from tests.images import image_bytes
from tests.stack import RECIPES, Stack, environment, open_stack
from tests.waiting import eventually

PHOTOS = 100
SESSIONS = 5
NAMES = [f"photos/{number:03d}.jpg" for number in range(PHOTOS)]


@dataclass
class Scene:
    """The stack, its two function hosts, and the log of the pool."""

    stack: Stack
    hosts: list[subprocesses.Subprocess]
    log: Path

    async def rows(self) -> list[Entry]:
        """Return the rows of the ledger."""
        container = self.stack.services.settings.input_container
        return [entry async for entry in self.stack.services.ledger.scan("web", *key_range(container, ""))]

    async def done(self) -> int:
        """Return the number of jobs that are done."""
        return sum(entry.state == "done" for entry in await self.rows())

    def events(self) -> list[dict[str, object]]:
        """Return the events in the pool's log."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


HOST = [sys.executable, "-m", "devstack", "host", "--poll", "0.2", "--hidden", "30"]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """Start the storage emulator, a pool and two hosts."""
    log, recipe_file = tmp_path / "pool.log", tmp_path / "recipes.yaml"
    recipe_file.write_text(RECIPES)
    argv = [sys.executable, "-m", "devstack", "session-pool", "--max-sessions", str(SESSIONS), "--log", log]
    async with emulator.running(data=None) as azurite, subprocesses.running("session pool", argv) as pool:
        endpoint = (await pool.wait_for_line(r"session pool ready: (\S+)", timeout=60))[1]
        environ = environment(azurite.connection_string, endpoint, recipe_file)
        environ |= {
            "PIPELINE_POOL_MAX_SESSIONS": str(SESSIONS),
            # Short, so that the jobs of a killed host return soon; long enough for heartbeats on a busy machine.
            "PIPELINE_SLOT_LEASE_DURATION": "45",
            "PIPELINE_CLAIM_TTL": "45",
            # A job that waits longer than this is requeued: harmless, but not the subject of these tests.
            "PIPELINE_SLOT_ACQUIRE_TIMEOUT": "200",
        }
        async with open_stack(environ) as stack, running(environ, "one") as one, running(environ, "two") as two:
            yield Scene(stack, [one, two], log)


@asynccontextmanager
async def running(environ: dict[str, str], name: str) -> AsyncIterator[subprocesses.Subprocess]:
    """Start a function host."""
    async with subprocesses.running(name, HOST, env=environ) as process:
        await process.wait_for_line("function host ready", timeout=60)
        yield process


async def assert_complete(scene: Scene) -> None:
    """Assert that every image has its two renditions, all recorded, and that the pool never exceeded its sessions."""
    rows = await scene.rows()
    assert Counter(entry.state for entry in rows) == {"done": PHOTOS}
    assert sorted(entry.name for entry in rows) == NAMES
    outputs = await scene.stack.outputs()
    assert sorted(outputs) == sorted(one["path"] for entry in rows for one in entry.renditions)
    assert len(outputs) == 2 * PHOTOS
    assert max(int(str(event["alive"])) for event in scene.events() if "alive" in event) <= SESSIONS


def uploads(scene: Scene) -> int:
    """Return the number of uploaded images; the engine, which every session gets once, is not counted."""
    events = scene.events()
    posts = [event for event in events if event["event"] == "call" and event["method"] == "POST"]
    sessions = sum(event["event"] == "allocated" for event in events)
    return sum(event["path"] == "/files" for event in posts) - sessions


@pytest.mark.timeout(300)
async def test_two_hosts_process_every_image_exactly_once(scene: Scene) -> None:
    for number, name in enumerate(NAMES):
        await scene.stack.upload(name, image_bytes(400, 300, seed=number))

    async def all_done() -> bool:
        return await scene.done() == PHOTOS

    await eventually(all_done, timeout=240, every=0.5)
    await assert_complete(scene)
    assert uploads(scene) == PHOTOS, "no image was executed twice"
    assert {entry.attempts for entry in await scene.rows()} == {1}

    async def queue_is_empty() -> bool:
        return await scene.stack.waiting_messages() == 0

    await eventually(queue_is_empty, timeout=60, every=0.5)


@pytest.mark.timeout(300)
async def test_a_host_killed_during_its_work_loses_no_image(scene: Scene) -> None:
    for number, name in enumerate(NAMES):
        await scene.stack.upload(name, image_bytes(400, 300, seed=number))

    async def a_quarter_is_done() -> bool:
        return await scene.done() >= PHOTOS // 4

    async def all_done() -> bool:
        return await scene.done() == PHOTOS

    await eventually(a_quarter_is_done, timeout=120, every=0.2)
    scene.hosts[0].kill()
    assert await scene.done() < PHOTOS
    await eventually(all_done, timeout=240, every=0.5)
    await assert_complete(scene)
