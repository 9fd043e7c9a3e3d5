"""Sources are pinned by their ETag; renditions are committed conditionally: in memory and on Azurite."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import pytest

from pipeline.errors import (
    BlobUnavailable,
    ConfigError,
    JobSuperseded,
    OutputError,
    SourceChanged,
    StorageNotFound,
    StorageUnavailable,
)
from pipeline.settings import Settings, StorageAccount
from pipeline.storage.account import BLOCK_BYTES, Account
from pipeline.storage.blobs import HeldBytes, Sources
from pipeline.storage.rendition_mark import RenditionMark
from pipeline.storage.renditions import RenditionBlob, Renditions

JPEG = RenditionBlob("web/a.jpg/thumb.jpg", "image/jpeg", "public, max-age=60", {"recipe": "web"})


@pytest.fixture
def sources(account: Account, settings: Settings) -> Sources:
    return Sources(account, (settings.input_container,))


@pytest.fixture
def renditions(account: Account, settings: Settings) -> Renditions:
    return Renditions(account, settings.output_container)


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def commit(renditions: Renditions, data: bytes, mark: RenditionMark) -> str:
    return await renditions.commit(await renditions.stage(JPEG.path, chunks(data)), JPEG, mark)


async def test_a_source_is_read_repeatedly_in_bounded_chunks(
    account: Account, settings: Settings, sources: Sources
) -> None:
    data = bytes(range(256)) * (3 * BLOCK_BYTES // 256) + b"end"
    await account.container(settings.input_container).upload_blob("ü/big.bin", data)
    source = await sources.open(settings.input_container, "ü/big.bin")
    for _ in range(2):
        parts = [chunk async for chunk in source.chunks()]
        assert b"".join(parts) == data
        assert max(map(len, parts)) <= BLOCK_BYTES
    assert source.size == len(data)
    assert source.sha256 == hashlib.sha256(data).hexdigest()


async def test_a_source_changed_or_deleted_while_read_is_not_read_further(
    account: Account, settings: Settings, sources: Sources
) -> None:
    blob = account.container(settings.input_container).get_blob_client("a.jpg")
    await blob.upload_blob(b"1" * (BLOCK_BYTES + 1))
    source = await sources.open(settings.input_container, "a.jpg")
    await blob.set_blob_metadata({"label": "a"})
    assert not await sources.is_current(source.container, source.name, source.etag)
    with pytest.raises(SourceChanged):
        [chunk async for chunk in source.chunks()]
    await blob.delete_blob()
    # Azurite checks the condition first. The job starts over then, and finds that the source is gone.
    with pytest.raises((JobSuperseded, SourceChanged)):
        [chunk async for chunk in source.chunks()]
    with pytest.raises(JobSuperseded) as caught:
        await sources.open(settings.input_container, "a.jpg")
    assert caught.value.kind == "source_gone"


async def test_a_small_source_arrives_whole_when_it_is_opened(
    account: Account, settings: Settings, sources: Sources
) -> None:
    blob = account.container(settings.input_container).get_blob_client("a.jpg")
    await blob.upload_blob(b"1" * BLOCK_BYTES)
    source = await sources.open(settings.input_container, "a.jpg")
    await blob.upload_blob(b"2" * BLOCK_BYTES, overwrite=True)
    assert b"".join([chunk async for chunk in source.chunks()]) == b"1" * BLOCK_BYTES


async def test_the_bytes_that_waiting_jobs_hold_have_a_budget(account: Account, settings: Settings) -> None:
    sources = Sources(account, (settings.input_container,))
    sources._held = HeldBytes(25)
    for name in "abc":
        await account.container(settings.input_container).upload_blob(name, b"0123456789")
    waiting = [await sources.open(settings.input_container, name) for name in "abc"]
    assert [source._first is not None for source in waiting] == [True, True, False]
    assert [chunk async for chunk in waiting[0].chunks()] == [chunk async for chunk in waiting[2].chunks()]
    del waiting[1]  # a job that ends without reading its source
    assert sources._held._left == 25


async def test_a_listing_tells_content_md5_metadata_and_tags(
    account: Account, settings: Settings, sources: Sources
) -> None:
    container = account.container(settings.input_container)
    await container.upload_blob("a.jpg", b"data", metadata={"label": "a"})
    await container.get_blob_client("a.jpg").set_blob_tags({"focal": "0.1 0.5"})
    (listed,), _ = await sources.page(settings.input_container, tags=True)
    assert listed.content_md5 == hashlib.md5(b"data").hexdigest()  # noqa: S324
    assert (listed.metadata, listed.tags) == ({"label": "a"}, {"focal": "0.1 0.5"})
    assert (await sources.open(settings.input_container, "a.jpg")).content_md5 == listed.content_md5
    (without,), _ = await sources.page(settings.input_container)
    assert without.tags is None


async def test_a_missing_source_is_superseded(settings: Settings, sources: Sources) -> None:
    with pytest.raises(JobSuperseded) as caught:
        await sources.open(settings.input_container, "gone.jpg")
    assert caught.value.kind == "source_gone"


async def test_a_missing_container_is_a_fault_of_the_service(account: Account) -> None:
    with pytest.raises(StorageNotFound, match=r"nowhere/a\.jpg.*image-pipeline init") as caught:
        await Sources(account, ("nowhere",)).open("nowhere", "a.jpg")
    assert caught.value.service == "storage"


async def test_a_rendition_has_the_recipes_headers_and_the_mark(
    account: Account, settings: Settings, renditions: Renditions
) -> None:
    mark = RenditionMark("web.abc", 3, "hash", "0x1", 7, "c0ffee", "thumb", 2)
    await commit(renditions, b"\xff\xd8\xff", mark)
    facts = await account.container(settings.output_container).get_blob_client(JPEG.path).get_blob_properties()
    assert (facts.content_settings.content_type, facts.content_settings.cache_control) == (
        "image/jpeg",
        "public, max-age=60",
    )
    assert facts.metadata == {
        "recipe": "web",
        "pipeline_job": "web.abc",
        "pipeline_generation": "3",
        "pipeline_recipe_version": "hash",
        "pipeline_source_etag": "0x1",
        "pipeline_source_size": "7",
        "pipeline_source_sha256": "c0ffee",
        "pipeline_rendition": "thumb",
        "pipeline_renditions": "2",
    }
    (listed,), _ = await renditions.marked()
    assert (listed.path, listed.mark) == (JPEG.path, mark)


def test_a_mark_that_was_edited_by_hand_is_read_as_far_as_possible() -> None:
    edited = {"pipeline_job": "web.abc", "pipeline_generation": "many", "pipeline_source_size": "-1"}
    assert RenditionMark.of(edited) == RenditionMark("web.abc", 0)
    assert RenditionMark.of({"recipe": "web"}) is RenditionMark.of(None) is None


async def test_a_large_rendition_is_visible_only_after_its_commit(renditions: Renditions) -> None:
    data = bytes(range(256)) * (3 * BLOCK_BYTES // 256) + b"end"
    staged = await renditions.stage(JPEG.path, chunks(*(data[i : i + 100_000] for i in range(0, len(data), 100_000))))
    with pytest.raises(JobSuperseded):
        await renditions.read(JPEG.path)
    await renditions.commit(staged, JPEG, RenditionMark("web.abc", 1))
    assert await renditions.read(JPEG.path) == (data, "image/jpeg")


@pytest.mark.parametrize("size", [10, 3 * BLOCK_BYTES])
async def test_an_older_generation_never_overwrites_a_newer_one(renditions: Renditions, size: int) -> None:
    late = await renditions.stage(JPEG.path, chunks(b"old" * size))
    await commit(renditions, b"new" * size, RenditionMark("web.abc", 2))
    with pytest.raises(JobSuperseded):
        await renditions.commit(late, JPEG, RenditionMark("web.abc", 1))
    assert (await renditions.read(JPEG.path))[0] == b"new" * size


@pytest.mark.parametrize("size", [10, 3 * BLOCK_BYTES])
async def test_a_newer_generation_replaces_an_older_one(renditions: Renditions, size: int) -> None:
    first = await commit(renditions, b"old" * size, RenditionMark("web.abc", 1))
    second = await commit(renditions, b"new" * size, RenditionMark("web.abc", 2))
    (listed,), _ = await renditions.marked()
    assert first != second == listed.etag
    assert (await renditions.read(JPEG.path))[0] == b"new" * size


async def test_a_commit_that_lost_its_blocks_is_retried(renditions: Renditions) -> None:
    """A commit discards all uncommitted blocks of a blob, those of a newer generation included; that one is retried."""
    newer = await renditions.stage(JPEG.path, chunks(b"new" * 3 * BLOCK_BYTES))
    await commit(renditions, b"old" * 3 * BLOCK_BYTES, RenditionMark("web.abc", 1))
    with pytest.raises(BlobUnavailable):
        await renditions.commit(newer, JPEG, RenditionMark("web.abc", 2))
    await commit(renditions, b"new" * 3 * BLOCK_BYTES, RenditionMark("web.abc", 2))


async def test_a_rendition_with_the_recorded_etag_is_replaced_by_one_write(renditions: Renditions) -> None:
    etag = await commit(renditions, b"old", RenditionMark("web.abc", 1))
    staged = await renditions.stage(JPEG.path, chunks(b"new"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Renditions, "_may_replace", None)
        assert await renditions.commit(staged, JPEG, RenditionMark("web.abc", 2), etag) != etag
    assert (await renditions.read(JPEG.path))[0] == b"new"


async def test_a_recorded_etag_that_does_not_hold_decides_nothing(
    account: Account, settings: Settings, renditions: Renditions
) -> None:
    """Another writer changed or deleted the blob: its mark decides, as without a recorded ETag."""
    etag = await commit(renditions, b"old", RenditionMark("web.abc", 1))
    blob = account.container(settings.output_container).get_blob_client(JPEG.path)
    await blob.delete_blob()
    mine = await renditions.commit(
        await renditions.stage(JPEG.path, chunks(b"mine")), JPEG, RenditionMark("web.abc", 2), etag
    )
    newer = await commit(renditions, b"newer", RenditionMark("web.abc", 4))
    late = await renditions.stage(JPEG.path, chunks(b"late"))
    with pytest.raises(JobSuperseded):
        await renditions.commit(late, JPEG, RenditionMark("web.abc", 3), mine)
    await blob.upload_blob(b"the only copy", overwrite=True)
    with pytest.raises(OutputError, match="another program"):
        await renditions.commit(late, JPEG, RenditionMark("web.abc", 5), newer)


async def test_another_jobs_rendition_is_never_overwritten(renditions: Renditions) -> None:
    await commit(renditions, b"theirs", RenditionMark("web.abc", 1))
    with pytest.raises(OutputError, match=r"belongs to job web\.abc"):
        await commit(renditions, b"ours", RenditionMark("web.xyz", 9))
    assert (await renditions.read(JPEG.path))[0] == b"theirs"


async def test_a_blob_that_is_not_the_pipelines_is_never_overwritten(
    account: Account, settings: Settings, renditions: Renditions
) -> None:
    await account.container(settings.output_container).upload_blob(JPEG.path, b"the only copy")
    with pytest.raises(OutputError, match="belongs to another program"):
        await commit(renditions, b"ours", RenditionMark("web.xyz", 9))
    assert (await renditions.read(JPEG.path))[0] == b"the only copy"


async def test_an_invalid_connection_string_is_refused() -> None:
    with pytest.raises(ConfigError, match="AccountName="):
        Account.open(StorageAccount(connection_string="nonsense"), None)


async def test_an_unreachable_storage_account_is_named(azurite: str) -> None:
    parts = [part for part in azurite.split(";") if part and not part.startswith("BlobEndpoint")]
    account = Account.open(
        StorageAccount(connection_string=";".join([*parts, "BlobEndpoint=http://127.0.0.1:1/devstoreaccount1"])), None
    )
    account._blobs._config.retry_policy.total_retries = 0  # no backoff in this test
    with pytest.raises(StorageUnavailable, match="IMAGES"):
        await Sources(account, ("input",)).open("input", "a.jpg")
    await account.close()


async def test_a_wrong_key_is_a_refused_sign_in(azurite: str) -> None:
    parts = [part if not part.startswith("AccountKey") else "AccountKey=AAAA" for part in azurite.split(";")]
    account = Account.open(StorageAccount(connection_string=";".join(parts)), None)
    with pytest.raises(StorageUnavailable, match="refuses the sign-in") as caught:
        await Sources(account, ("input",)).open("input", "a.jpg")
    assert caught.value.kind == "storage_denied"
    await account.close()


@pytest.mark.stack
async def test_all_retries_of_a_call_fit_between_two_heartbeats(account: Account) -> None:
    """The SDK's default backoff would outlast a claim: a short fault of storage would cost the job."""
    heartbeat = Settings(pool_endpoint="http://127.0.0.1:1").slot_lease_duration / 3
    for client in (account._blobs, account._queues):
        policy = client._config.retry_policy
        pauses = [policy.get_backoff_time({"count": number}) for number in range(1, policy.total_retries + 1)]
        assert sum(pauses) < heartbeat
