"""What a scan for new blobs sees and remembers."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

from azure.storage.blob import BlobServiceClient

from devstack.host.checkpoint import MARGIN, Checkpoint
from devstack.host.listing import Listed, Listing
from tests.host.conftest import Stage

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def blob(name: str, at: datetime = NOON, etag: str = "1") -> Listed:
    return Listed(name, etag, at)


def restarted(checkpoint: Checkpoint) -> Checkpoint:
    return Checkpoint.load(checkpoint.dump())


def test_everything_is_new_at_the_first_scan_and_nothing_at_the_next() -> None:
    blobs = [blob("a", NOON - timedelta(days=400)), blob("b")]
    assert all(Checkpoint().is_new(each) for each in blobs)
    after = restarted(Checkpoint().after(blobs))
    assert not any(after.is_new(each) for each in blobs)


def test_within_one_second_a_blob_is_known_by_its_name_and_etag() -> None:
    after = restarted(Checkpoint().after([blob("a")]))
    assert after.is_new(blob("b"))
    assert after.is_new(blob("a", etag="2"))
    assert not after.is_new(blob("a"))


def test_a_blob_whose_upload_took_long_is_found_although_it_bears_an_older_time() -> None:
    after = restarted(Checkpoint().after([blob("quick")]))
    assert after.is_new(blob("slow", NOON - MARGIN))
    assert not after.is_new(blob("long ago", NOON - MARGIN - SECOND))


def test_only_what_lies_within_the_margin_is_remembered() -> None:
    first = Checkpoint().after([blob(str(number)) for number in range(100)])
    later = first.after([*(blob(str(number)) for number in range(100)), blob("new", NOON + MARGIN + SECOND)])
    assert len(later.seen) == 1
    assert not any(later.is_new(blob(str(number))) for number in range(100))


def test_an_emptied_container_forgets_nothing() -> None:
    after = restarted(Checkpoint().after([blob("a")]).after([]))
    assert after.watermark == NOON
    assert Checkpoint().after([]) == Checkpoint()


async def test_all_pages_of_a_container_are_listed_with_any_name(stage: Stage) -> None:
    names = ["a b", "a#?%&+=", "ä/é/日本", "<&>", "b"]
    etags = [(await stage.container.upload_blob(name, b"x")).blob_name for name in names]
    assert etags == names
    account = BlobServiceClient.from_connection_string(stage.connection)

    def listed(container: str, prefix: str) -> list[Listed]:
        with contextlib.closing(Listing(account, container, prefix, page=2)) as listing:
            return listing.blobs()

    assert sorted(each.name for each in await asyncio.to_thread(listed, stage.name, "")) == sorted(names)
    (found,) = await asyncio.to_thread(listed, stage.name, "a#")
    properties = await stage.container.get_blob_client("a#?%&+=").get_blob_properties()
    assert (found.etag, found.last_modified) == (properties.etag.strip('"'), properties.last_modified)
    assert await asyncio.to_thread(listed, "nowhere", "") == []
    account.close()


async def test_a_blob_that_cannot_be_listed_is_told_once_with_its_likely_cause(stage: Stage) -> None:
    async with stage.host() as host:
        await stage.container.upload_blob("\x1b.jpg", b"x")
        await host.process.line("cannot be scanned: HTTP 500 .*control character in a blob's name", 30)
        # Many scans later it is no other line; then all goes on.
        await stage.container.delete_blob("\x1b.jpg")
        await stage.container.upload_blob("good.jpg", b"x")
        await stage.hear(1)
        assert sum("cannot be scanned" in line for line in host.log) == 1
