"""Checkpoints and listings of the scan for new blobs."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

from azure.storage.blob import BlobServiceClient

from functions_host.blob_listing import BlobLister, BlobVersion
from functions_host.blob_scanner import LOOKBACK, Checkpoint
from tests.functions_host.conftest import HostEnvironment

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def blob(name: str, last_modified: datetime = NOON, etag: str = "1") -> BlobVersion:
    return BlobVersion(name, etag, last_modified)


def reloaded(checkpoint: Checkpoint) -> Checkpoint:
    return Checkpoint.from_json(checkpoint.to_json())


def test_every_blob_is_new_in_the_first_scan_only() -> None:
    blobs = [blob("a", NOON - timedelta(days=400)), blob("b")]
    assert all(Checkpoint().is_new(each) for each in blobs)
    after = reloaded(Checkpoint().advanced(blobs))
    assert not any(after.is_new(each) for each in blobs)


def test_in_one_second_blobs_are_recognized_by_name_and_etag() -> None:
    after = reloaded(Checkpoint().advanced([blob("a")]))
    assert after.is_new(blob("b"))
    assert after.is_new(blob("a", etag="2"))
    assert not after.is_new(blob("a"))


def test_a_slow_upload_with_an_older_time_is_found() -> None:
    after = reloaded(Checkpoint().advanced([blob("quick")]))
    assert after.is_new(blob("slow", NOON - LOOKBACK))
    assert not after.is_new(blob("long ago", NOON - LOOKBACK - SECOND))


def test_only_blobs_in_the_lookback_window_are_stored() -> None:
    first = Checkpoint().advanced([blob(str(number)) for number in range(100)])
    later = first.advanced([*(blob(str(number)) for number in range(100)), blob("new", NOON + LOOKBACK + SECOND)])
    assert len(later.seen) == 1
    assert not any(later.is_new(blob(str(number))) for number in range(100))


def test_an_emptied_container_keeps_the_watermark() -> None:
    after = reloaded(Checkpoint().advanced([blob("a")]).advanced([]))
    assert after.watermark == NOON
    assert Checkpoint().advanced([]) == Checkpoint()


async def test_all_pages_are_listed_with_any_blob_name(environment: HostEnvironment) -> None:
    names = ["a b", "a#?%&+=", "ä/é/日本", "<&>", "b"]
    for name in names:
        await environment.container.upload_blob(name, b"x")
    account = BlobServiceClient.from_connection_string(environment.connection)

    def listed(container: str, prefix: str) -> list[BlobVersion]:
        with contextlib.closing(BlobLister(account, container, prefix, page_size=2)) as lister:
            return lister.list_blobs()

    assert sorted(each.name for each in await asyncio.to_thread(listed, environment.name, "")) == sorted(names)
    (found,) = await asyncio.to_thread(listed, environment.name, "a#")
    properties = await environment.container.get_blob_client("a#?%&+=").get_blob_properties()
    assert (found.etag, found.last_modified) == (properties.etag.strip('"'), properties.last_modified)
    assert await asyncio.to_thread(listed, "nowhere", "") == []
    account.close()


async def test_a_failing_scan_is_logged_once_with_its_likely_cause(environment: HostEnvironment) -> None:
    async with environment.host() as host:
        await environment.container.upload_blob("\x1b.jpg", b"x")
        await host.process.wait_for_line("cannot scan .*: HTTP 500 .*control character in a blob's name", 30)
        # Further scans do not repeat the warning. After the cause is gone, scans succeed again.
        await environment.container.delete_blob("\x1b.jpg")
        await environment.container.upload_blob("good.jpg", b"x")
        await environment.reports(1)
        assert sum("cannot scan" in line for line in host.log) == 1
