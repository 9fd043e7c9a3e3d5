"""Documents of slots have one holder at a time: in memory and on Azurite."""

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


async def test_missing_documents_are_created_by_the_first_listing(documents: LeasedDocuments) -> None:
    assert await documents.list_free(3) == ["slots/000.json", "slots/001.json", "slots/002.json"]


async def test_a_document_has_one_holder_at_a_time(documents: LeasedDocuments) -> None:
    await documents.list_free(2)
    held = await documents.acquire("slots/000.json")
    assert held is not None
    assert await documents.acquire("slots/000.json") is None
    assert await documents.list_free(2) == ["slots/001.json"]
    await held.write({"state": "free"})
    await held.release()
    successor = await documents.acquire("slots/000.json")
    assert successor is not None
    assert successor.content == {"state": "free"}


async def test_a_lost_document_cannot_be_written_or_renewed(
    account: Account, settings: Settings, documents: LeasedDocuments
) -> None:
    await documents.list_free(1)
    held = await documents.acquire("slots/000.json")
    assert held is not None
    blob = account.container(settings.state_container).get_blob_client("slots/000.json")
    await BlobLeaseClient(blob).break_lease(0)
    successor = await documents.acquire("slots/000.json")
    assert successor is not None
    for operation in (held.renew, lambda: held.write({})):
        with pytest.raises(LeaseLost):
            await operation()
    await held.release()
    await successor.renew()


@pytest.mark.stack
async def test_an_unreadable_document_is_released(documents: LeasedDocuments, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unreachable(*_: object) -> None:
        raise ServiceResponseError("the connection broke")

    await documents.list_free(1)
    with monkeypatch.context() as patch:
        patch.setattr(BlobClient, "download_blob", unreachable)
        with pytest.raises(StorageUnavailable):
            await documents.acquire("slots/000.json")
    assert await documents.list_free(1) == ["slots/000.json"]


async def test_demands_of_dead_processes_expire_and_are_deleted(
    account: Account, settings: Settings, documents: LeasedDocuments, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = LeasedDocuments(account, settings.state_container, "slots/", 15)
    await dead.publish_demand({"held": 2, "more": 1})
    await documents.publish_demand({"held": 1, "more": 0})
    assert await documents.demands() == {dead.process: {"held": 2, "more": 1}}
    monkeypatch.setattr(leased_documents, "DEMAND_TTL", timedelta(days=-1))
    assert await documents.demands() == {}
    monkeypatch.setattr(leased_documents, "DEMAND_RETENTION", timedelta(days=-1))
    assert await documents.demands() == {}
    left = [blob.name async for blob in account.container(settings.state_container).list_blobs()]
    assert len(left) == 1, "the own demand stays"


async def test_an_invalid_document_reads_as_empty(
    account: Account, settings: Settings, documents: LeasedDocuments
) -> None:
    await account.container(settings.state_container).upload_blob("slots/000.json", b"\xff{")
    held = await documents.acquire("slots/000.json")
    assert held is not None
    assert held.content == {}
