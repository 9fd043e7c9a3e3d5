"""Responses decoded without the SDK equal those that the SDK decodes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.pipeline.transport import AsyncHttpTransport
from azure.core.rest._http_response_impl_async import AsyncHttpResponseImpl
from azure.data.tables.aio import TableClient
from azure.storage.blob.aio import ContainerClient
from requests.structures import CaseInsensitiveDict
from typing_extensions import override

from pipeline.storage.blobs import _listed
from pipeline.storage.entry import Entry
from pipeline.storage.fast_responses import TakenBlobs, TakenRows

BLOB = """<Blob><Name{encoded}>{name}</Name><Properties><Creation-Time>Tue, 01 Dec 2026 17:00:00 GMT</Creation-Time>
<Last-Modified>Tue, 01 Dec 2026 17:00:00 GMT</Last-Modified><Etag>0x8DCF</Etag><Content-Length>1000</Content-Length>
<Content-Type>{type}</Content-Type><Content-Encoding /><Content-MD5>{md5}</Content-MD5><BlobType>BlockBlob</BlobType>
<LeaseStatus>unlocked</LeaseStatus></Properties>{more}<OrMetadata /></Blob>"""
BLOBS = [
    BLOB.format(encoded="", name="photos/a&amp;b é.jpg", type="image/jpeg", md5="1B2M2Y8AsgTpgAmY7PhCfg==", more=""),
    BLOB.format(encoded=' Encoded="true"', name="a%EF%BF%BEb", type="", md5="", more="<Metadata><k>v w</k></Metadata>"),
    BLOB.format(
        encoded="",
        name="t",
        type="x",
        md5="",
        more="<Metadata /><Tags><TagSet><Tag><Key>focal x</Key><Value>0.5</Value></Tag></TagSet></Tags>",
    ),
]
LISTING = f"""<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="http://x/">
<Prefix>p</Prefix><MaxResults>3</MaxResults><Blobs>{"".join(BLOBS)}</Blobs><NextMarker>more</NextMarker>
</EnumerationResults>"""
ROW = {
    "odata.etag": "W/\"datetime'2026-12-01T17%3A00%3A00.1234567Z'\"",
    "PartitionKey": "web~01",
    "RowKey": "input!2Fa.jpg",
    "Timestamp@odata.type": "Edm.DateTime",
    "Timestamp": "2026-12-01T17:00:00.1234567Z",
    "state": "done",
    "container": "input",
    "name": "a.jpg",
    "source_etag": "0x8DCF",
    "recipe_hash": "a" * 64,
    "decoder_revision": 1,
    "service_seconds": 1.5,
    "source_size@odata.type": "Edm.Int64",
    "source_size": "5000000000",
    "generation@odata.type": "Edm.Int64",
    "generation": "123456",
    "expires@odata.type": "Edm.DateTime",
    "expires": "2000-01-01T00:00:00Z",
    "since@odata.type": "Edm.DateTime",
    "since": "2026-12-01T17:00:00.5Z",
    "packed@odata.type": "Edm.Binary",
    "packed": "AAEC",
}


class Recorded(AsyncHttpTransport):  # type: ignore[type-arg]
    """A transport whose responses have one body."""

    def __init__(self, body: str, content_type: str) -> None:
        self._body, self._type = body.encode(), content_type

    @override
    async def open(self) -> None:
        """Do nothing."""

    @override
    async def close(self) -> None:
        """Do nothing."""

    async def __aexit__(self, *_: object) -> None:
        """Do nothing."""

    @override
    async def send(self, request: Any, **_: Any) -> Any:
        """Return the response."""
        headers = CaseInsensitiveDict({"content-type": self._type})
        response = AsyncHttpResponseImpl(
            request=request,
            internal_response=object(),
            status_code=200,
            reason="OK",
            content_type=self._type,
            headers=headers,  # type: ignore[arg-type]
            stream_download_generator=None,  # type: ignore[arg-type]
        )
        response._content = self._body
        return response


@pytest.mark.parametrize("tags", [True, False])
async def test_listed_blobs_equal_those_of_the_sdk(tags: bool) -> None:
    client = ContainerClient("http://127.0.0.1/acc", "input", transport=Recorded(LISTING, "application/xml"))
    expected, found = [], TakenBlobs(tags=tags)
    for hook in (None, found):
        pages = client.list_blobs(raw_response_hook=hook).by_page()
        decoded = [_listed(blob, tags=tags) async for blob in await anext(pages)]
        expected = expected or decoded
        assert vars(pages)["continuation_token"] == "more"  # noqa: S105
    assert decoded == []
    assert found.blobs == expected


async def test_rows_equal_those_of_the_sdk() -> None:
    key = AzureNamedKeyCredential("acc", "a2V5")
    transport = Recorded(json.dumps({"value": [ROW]}), "application/json;odata=minimalmetadata")
    client = TableClient("http://127.0.0.1/acc", "jobs", credential=key, transport=transport)
    (expected,) = [row async for row in client.query_entities("PartitionKey eq 'web'")]
    taken = TakenRows()
    assert [row async for row in client.query_entities("PartitionKey eq 'web'", raw_response_hook=taken)] == []
    assert taken.rows is not None
    (row,) = taken.rows
    assert dict(row) == {name: getattr(value, "value", value) for name, value in expected.items()}
    assert row.metadata["etag"] == expected.metadata["etag"]
    assert Entry.from_row(row).generation == Entry.from_row(expected).generation == 123456
