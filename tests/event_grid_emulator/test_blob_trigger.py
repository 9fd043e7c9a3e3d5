"""From an upload to its renditions by events only: the scan of the function host is off."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devstack import subprocesses
from event_grid_emulator.faults import Faults
from event_grid_emulator.subscription import blob_trigger_subscription
from tests.event_grid_emulator.conftest import EmulatedAccount, Webhook, emulated_account
from tests.images import image_bytes
from tests.stack import Stack, environment, open_stack
from tests.waiting import eventually

WEBHOOK_KEY = "the key of the app's blobs extension"


@dataclass
class Setup:
    """The pipeline's services, its function host, and the Event Grid emulator between storage and host."""

    stack: Stack
    account: EmulatedAccount
    host_url: str
    log: list[str]

    @property
    def webhook_url(self) -> str:
        """The URL of the host's webhook, with its key."""
        path = "/runtime/webhooks/blobs?functionName=Host.Functions.image_uploaded"
        return f"{self.host_url}{path}&code={WEBHOOK_KEY}"

    @property
    def host_id(self) -> str:
        """The id of the app in its host."""
        return self.account.container.container_name

    @property
    def input_container(self) -> str:
        """The name of the input container."""
        return self.stack.services.settings.input_container

    async def subscribe(self) -> None:
        """Subscribe the host to the input container."""
        document = blob_trigger_subscription([self.webhook_url], self.input_container)
        response = await self.account.put_subscription("images", document)
        assert response.status_code == 201, response.text

    async def delivered(self) -> int:
        """Return the number of delivered events."""
        return int((await self.account.status("images")).get("delivered", 0))

    async def etag(self, name: str) -> str:
        """Return the current ETag of a source."""
        container = self.stack.services.account.container(self.input_container)
        return str((await container.get_blob_client(name).get_blob_properties()).etag).strip('"')

    async def is_done(self, *names: str) -> bool:
        """Return whether the jobs of all sources are done with their current version."""
        entries = [await self.stack.entry("web", name) for name in names]
        etags = [await self.etag(name) for name in names]
        return all(
            entry and entry.state == "done" and entry.version.etag == etag
            for entry, etag in zip(entries, etags, strict=True)
        )


@contextlib.asynccontextmanager
async def create_setup(azurite: str, session_pool: str, recipe_file: Path, faults: Faults) -> AsyncIterator[Setup]:
    """Run the Event Grid emulator and the function host."""
    log: list[str] = []
    async with emulated_account(azurite, faults=faults) as account:
        connection = azurite.replace(azurite.split("BlobEndpoint=")[1].split(";")[0], account.url)
        environ = environment(connection, session_pool, recipe_file) | {"PIPELINE_CLAIM_TTL": "15"}
        argv = [sys.executable, "-m", "devstack", "host", "--events", "--hidden", "5"]
        host_id = account.container.container_name
        env = environ | {"FUNCTIONS_HOST_WEBHOOK_KEY": WEBHOOK_KEY, "AzureFunctionsWebHost__hostid": host_id}
        async with (
            open_stack(environ) as stack,
            subprocesses.running("host", argv, env=env, output=log.append) as host,
        ):
            url = (await host.wait_for_line(r"function host ready: (\S+)", 60))[1]
            yield Setup(stack, account, url, log)


@pytest.fixture
async def setup(azurite: str, session_pool: str, recipe_file: Path) -> AsyncIterator[Setup]:
    async with create_setup(azurite, session_pool, recipe_file, Faults()) as setup:
        yield setup


async def test_only_the_event_of_an_upload_starts_a_job(setup: Setup) -> None:
    await setup.stack.upload("photos/before.jpg", image_bytes(300, 200))
    await setup.subscribe()
    await setup.stack.upload("photos/ä b#1.jpg", image_bytes(300, 200, seed=2))
    await eventually(lambda: setup.is_done("photos/ä b#1.jpg"), 60)
    assert sorted(await setup.stack.outputs()) == ["web/photos/ä b#1.jpg/small.webp", "web/photos/ä b#1.jpg/thumb.jpg"]
    assert await setup.stack.entry("web", "photos/before.jpg") is None
    assert await setup.delivered() == 1, "renditions, slots and staged files send no events to the function"
    # As on Azure, the host creates its queue again for the next event.
    await setup.stack.services.account.queue(f"azure-webjobs-blobtrigger-{setup.host_id}").delete_queue()
    await setup.stack.upload("photos/after.jpg", image_bytes(300, 200, seed=3))
    await eventually(lambda: setup.is_done("photos/after.jpg"), 60)


async def test_an_upload_in_blocks_is_one_event_and_one_job(setup: Setup) -> None:
    await setup.subscribe()
    blob = setup.stack.services.account.container(setup.input_container).get_blob_client("photos/blocks.jpg")
    data = image_bytes(300, 200)
    for number in range(3):
        await blob.stage_block(f"{number}", data[number * 1000 : None if number == 2 else (number + 1) * 1000])
    await blob.commit_block_list([*"012"])
    await eventually(lambda: setup.is_done("photos/blocks.jpg"), 60)
    assert await setup.delivered() == 1


async def test_an_event_of_another_container_starts_no_job(setup: Setup) -> None:
    """The subscription has no filter, so the pipeline itself must reject the event."""
    outputs = setup.stack.services.settings.output_container
    document = {**blob_trigger_subscription([setup.webhook_url], setup.input_container), "filter": {}}
    await setup.account.put_subscription("images", document)
    await setup.stack.services.account.container(outputs).upload_blob("photos/loop.jpg", image_bytes(30, 20))
    await eventually(lambda: any("event=source.ignored" in line and "photos/loop.jpg" in line for line in setup.log))
    assert await setup.stack.entry("web", "photos/loop.jpg") is None
    assert list(await setup.stack.outputs()) == ["photos/loop.jpg"]


async def test_the_webhook_checks_key_function_and_body(setup: Setup) -> None:
    wrong_key = blob_trigger_subscription([setup.webhook_url.replace(WEBHOOK_KEY, "guessed")], setup.input_container)
    assert "HTTP 401" in (await setup.account.put_subscription("images", wrong_key)).text
    unknown = blob_trigger_subscription([setup.webhook_url.replace("image_uploaded", "other")], setup.input_container)
    assert "HTTP 404" in (await setup.account.put_subscription("images", unknown)).text
    post = setup.account.http.post
    for body in (b"nonsense", b"{}", b"[{}]", b'[{"data": {"url": "http://127.0.0.1/account/"}}]'):
        response = await post(setup.webhook_url, content=body, headers={"aeg-event-type": "Notification"})
        assert response.status_code == 400
    assert (await post(setup.webhook_url, content=b"[]")).status_code == 400


async def test_duplicate_and_reordered_events_lead_to_one_result(
    azurite: str, session_pool: str, recipe_file: Path
) -> None:
    """The filter drops `CreateFile`, which accounts with hierarchical namespace send while the blob is empty."""
    faults = Faults(copies=3, max_delay=1.0, extra_apis=("CreateFile", "FlushWithClose"))
    names = [f"photos/{number}.jpg" for number in range(6)]
    async with create_setup(azurite, session_pool, recipe_file, faults) as setup:
        await setup.subscribe()
        for number, name in enumerate(names):
            await setup.stack.upload(name, image_bytes(200, 100, seed=number))
            await setup.stack.upload(name, image_bytes(300, 200, seed=number))  # replace it at once
        await eventually(lambda: setup.is_done(*names), 90)

        async def is_all_delivered() -> bool:
            return await setup.delivered() == len(names) * 2 * 2 * 3

        await eventually(is_all_delivered, 60)
        entries = [await setup.stack.entry("web", name) for name in names]
        etags = [await setup.etag(name) for name in names]
        assert [entry.version.etag for entry in entries if entry] == etags, "the result is that of the last version"
        assert len(await setup.stack.outputs()) == 2 * len(names)


async def test_an_event_for_a_stopped_host_goes_to_another_host(setup: Setup) -> None:
    async with Webhook().serving() as stopped:
        document = blob_trigger_subscription([stopped.url, setup.webhook_url], setup.input_container)
        assert (await setup.account.put_subscription("images", document)).status_code == 201
    names = [f"photos/{number}.jpg" for number in range(3)]
    await asyncio.gather(*(setup.stack.upload(name, image_bytes(100, 80, seed=n)) for n, name in enumerate(names)))
    await eventually(lambda: setup.is_done(*names), 60)
    assert (await setup.account.status("images"))["failed"] >= 1
