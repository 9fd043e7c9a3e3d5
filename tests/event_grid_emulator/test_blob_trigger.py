"""From an upload to renditions by events alone: through the real function host, whose scan is off."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devstack import child
from devstack.event_grid.oddities import Oddities
from devstack.event_grid.subscription import for_blobs
from tests.event_grid.conftest import Account, Webhook, account
from tests.images import picture
from tests.stack import Stack, environment, opened
from tests.waiting import eventually

KEY = "the key of the app's blobs extension"


@dataclass
class Scene:
    """The pipeline's services, a function host for them, and the Event Grid between."""

    stack: Stack
    storage: Account
    host: str
    log: list[str]

    @property
    def hook(self) -> str:
        return f"{self.host}/runtime/webhooks/blobs?functionName=Host.Functions.image_dropped&code={KEY}"

    @property
    def input(self) -> str:
        return self.stack.services.settings.input_container

    async def subscribe(self) -> None:
        answer = await self.storage.subscribe("images", for_blobs([self.hook], self.input))
        assert answer.status_code == 201, answer.text

    async def delivered(self) -> int:
        return int((await self.storage.counted("images")).get("delivered", 0))

    async def done(self, name: str) -> bool:
        entry = await self.stack.entry("web", name)
        return entry is not None and entry.state == "done"


@contextlib.asynccontextmanager
async def scene(azurite: str, session_pool: str, recipe_file: Path, oddities: Oddities) -> AsyncIterator[Scene]:
    log: list[str] = []
    async with account(azurite, oddities=oddities) as storage:
        blobs = azurite.replace(azurite.split("BlobEndpoint=")[1].split(";")[0], storage.address)
        environ = environment(blobs, session_pool, recipe_file) | {"PIPELINE_CLAIM_TTL": "15"}
        argv = [sys.executable, "-m", "devstack", "host", "--events", "--hidden", "5"]
        own = {"DEVSTACK_WEBHOOK_KEY": KEY, "AzureFunctionsWebHost__hostid": storage.container.container_name}
        async with opened(environ) as stack, child.running("host", argv, env=environ | own, output=log.append) as host:
            url = (await host.line(r"function host ready: (\S+)", 60))[1]
            yield Scene(stack, storage, url, log)


@pytest.fixture
async def calm(azurite: str, session_pool: str, recipe_file: Path) -> AsyncIterator[Scene]:
    async with scene(azurite, session_pool, recipe_file, Oddities()) as opened:
        yield opened


async def test_an_upload_leads_to_renditions_by_its_event_and_by_nothing_else(calm: Scene) -> None:
    await calm.stack.drop("photos/untold.jpg", picture(300, 200))
    await calm.subscribe()
    await calm.stack.drop("photos/ä b#1.jpg", picture(300, 200, seed=2))
    await eventually(lambda: calm.done("photos/ä b#1.jpg"), 60)
    assert sorted(await calm.stack.outputs()) == ["web/photos/ä b#1.jpg/small.webp", "web/photos/ä b#1.jpg/thumb.jpg"]
    assert await calm.stack.entry("web", "photos/untold.jpg") is None
    assert await calm.delivered() == 1, "renditions, slots and uploads are no news for the function"


async def test_an_upload_in_blocks_is_one_event_and_one_job(calm: Scene) -> None:
    await calm.subscribe()
    blob = calm.stack.services.account.container(calm.input).get_blob_client("photos/blocks.jpg")
    data = picture(300, 200)
    for number in range(3):
        await blob.stage_block(f"{number}", data[number * 1000 : None if number == 2 else (number + 1) * 1000])
    await blob.commit_block_list([*"012"])
    await eventually(lambda: calm.done("photos/blocks.jpg"), 60)
    assert await calm.delivered() == 1


async def test_an_event_from_elsewhere_starts_nothing_even_where_no_filter_holds_it(calm: Scene) -> None:
    outputs = calm.stack.services.settings.output_container
    await calm.storage.subscribe("images", {**for_blobs([calm.hook], calm.input), "filter": {}})
    await calm.stack.services.account.container(outputs).upload_blob("photos/loop.jpg", picture(30, 20))
    await eventually(lambda: any("photos/loop.jpg is no source" in line for line in calm.log))
    assert await calm.stack.entry("web", "photos/loop.jpg") is None
    assert list(await calm.stack.outputs()) == ["photos/loop.jpg"]


async def test_the_webhook_asks_for_its_key_and_for_a_function_that_there_is(calm: Scene) -> None:
    wrong = for_blobs([calm.hook.replace(KEY, "guessed")], calm.input)
    assert "HTTP 401" in (await calm.storage.subscribe("images", wrong)).text
    other = for_blobs([calm.hook.replace("image_dropped", "other")], calm.input)
    assert "HTTP 404" in (await calm.storage.subscribe("images", other)).text
    post = calm.storage.control.post
    for body in (b"nonsense", b"{}", b"[{}]", b'[{"data": {"url": "http://127.0.0.1/account/"}}]'):
        answer = await post(calm.hook, content=body, headers={"aeg-event-type": "Notification"})
        assert answer.status_code == 400
    assert (await post(calm.hook, content=b"[]")).status_code == 400


async def test_events_that_come_twice_late_and_in_any_order_lead_to_one_result_each(
    azurite: str, session_pool: str, recipe_file: Path
) -> None:
    """Also `CreateFile`, which accounts with folders send before anything is in the blob: the filter drops it."""
    odd = Oddities(copies=3, shuffle=1.0, also=("CreateFile", "FlushWithClose"))
    names = [f"photos/{number}.jpg" for number in range(6)]
    async with scene(azurite, session_pool, recipe_file, odd) as there:
        await there.subscribe()
        for number, name in enumerate(names):
            await there.stack.drop(name, picture(200, 100, seed=number))
            await there.stack.drop(name, picture(300, 200, seed=number))  # replaced at once
        await eventually(lambda: _all_done(there, names), 90)

        async def all_delivered() -> bool:
            return await there.delivered() == len(names) * 2 * 2 * 3

        await eventually(all_delivered, 60)
        entries = [await there.stack.entry("web", name) for name in names]
        etags = [await _etag(there, name) for name in names]
        assert [entry.version.etag for entry in entries if entry] == etags, "the last version is the one that counts"
        assert len(await there.stack.outputs()) == 2 * len(names)


async def _all_done(there: Scene, names: list[str]) -> bool:
    """Done with the version that is there now."""
    entries = [await there.stack.entry("web", name) for name in names]
    etags = [await _etag(there, name) for name in names]
    return all(
        entry and entry.state == "done" and entry.version.etag == etag
        for entry, etag in zip(entries, etags, strict=True)
    )


async def _etag(there: Scene, name: str) -> str:
    container = there.stack.services.account.container(there.input)
    return str((await container.get_blob_client(name).get_blob_properties()).etag).strip('"')


async def test_an_event_for_a_host_that_is_down_comes_to_the_next_one(calm: Scene) -> None:
    async with Webhook().served() as other:
        both = for_blobs([other.url, calm.hook], calm.input)
        assert (await calm.storage.subscribe("images", both)).status_code == 201
    names = [f"photos/{number}.jpg" for number in range(3)]
    await asyncio.gather(*(calm.stack.drop(name, picture(100, 80, seed=n)) for n, name in enumerate(names)))
    await eventually(lambda: _all_done(calm, names), 60)
    assert (await calm.storage.counted("images"))["failed"] >= 1
