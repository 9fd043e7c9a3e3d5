"""Slots' documents: held by one process at a time. Against real blob leases."""

from __future__ import annotations

from datetime import timedelta

import pytest
from azure.core.exceptions import ServiceResponseError
from azure.storage.blob.aio import BlobClient, BlobLeaseClient

from pipeline.errors import StorageUnavailable
from pipeline.settings import Settings
from pipeline.storage import leased_documents
from pipeline.storage.account import Account
from pipeline.storage.leased_documents import LeasedDocuments, LeaseLost


@pytest.fixture
def documents(account: Account, settings: Settings) -> LeasedDocuments:
    return LeasedDocuments(account, settings.state_container, "slots/", 15)


async def test_documents_are_made_when_they_are_first_looked_for(documents: LeasedDocuments) -> None:
    assert await documents.list_free(3) == ["slots/000.json", "slots/001.json", "slots/002.json"]


async def test_a_document_is_held_by_one_at_a_time(documents: LeasedDocuments) -> None:
    await documents.list_free(2)
    held = await documents.acquire("slots/000.json")
    assert held is not None
    assert await documents.acquire("slots/000.json") is None
    assert await documents.list_free(2) == ["slots/001.json"]
    await held.write({"state": "free"})
    await held.release()
    heir = await documents.acquire("slots/000.json")
    assert heir is not None
    assert heir.content == {"state": "free"}


async def test_a_document_that_was_lost_cannot_be_written_or_renewed(
    account: Account, settings: Settings, documents: LeasedDocuments
) -> None:
    await documents.list_free(1)
    held = await documents.acquire("slots/000.json")
    assert held is not None
    blob = account.container(settings.state_container).get_blob_client("slots/000.json")
    await BlobLeaseClient(blob).break_lease(0)
    heir = await documents.acquire("slots/000.json")
    assert heir is not None
    for doing in (held.renew, lambda: held.write({})):
        with pytest.raises(LeaseLost):
            await doing()
    await held.release()
    await heir.renew()


async def test_a_document_that_cannot_be_read_is_not_kept_from_others(
    documents: LeasedDocuments, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise ServiceResponseError("the connection broke")

    await documents.list_free(1)
    with monkeypatch.context() as patch:
        patch.setattr(BlobClient, "download_blob", away)
        with pytest.raises(StorageUnavailable):
            await documents.acquire("slots/000.json")
    assert await documents.list_free(1) == ["slots/000.json"]


async def test_wishes_of_processes_that_died_are_forgotten_and_then_removed(
    account: Account, settings: Settings, documents: LeasedDocuments, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = LeasedDocuments(account, settings.state_container, "slots/", 15)
    await dead.publish_demand(2, more=True)
    await documents.publish_demand(1, more=False)
    assert await documents.demands() == [(2, True)]
    monkeypatch.setattr(leased_documents, "WISH_HOLDS", timedelta(days=-1))
    assert await documents.demands() == []
    monkeypatch.setattr(leased_documents, "WISH_LIES", timedelta(days=-1))
    assert await documents.demands() == []
    left = [blob.name async for blob in account.container(settings.state_container).list_blobs()]
    assert len(left) == 1, "its own"


async def test_a_document_with_garbage_in_it_reads_as_empty(
    account: Account, settings: Settings, documents: LeasedDocuments
) -> None:
    await account.container(settings.state_container).upload_blob("slots/000.json", b"\xff{")
    held = await documents.acquire("slots/000.json")
    assert held is not None
    assert held.content == {}
