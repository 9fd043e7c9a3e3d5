"""Run the whole stack with a managed identity, and search its logs, responses and stored data for secrets."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import pytest_asyncio
from azure.data.tables.aio import TableServiceClient
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from devstack import azurite as emulator
from devstack import stack
from tests.images import image_bytes

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATTERNS = {
    "a token": r"eyJ[\w-]{10,}\.[\w-]{10,}\.",
    "a header with a token": r"(?i)bearer\s+[\w-]{20,}",
    "a connection string": r"AccountKey=|SharedAccessKey=",
    "a signed URL": r"(?i)[?&](sig|code|identifier)=[^&\s\"]{4,}|SharedAccessSignature",
}
ORIGIN = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}


@dataclass
class Evidence:
    """All texts of a run by their place (logs, responses, stored data), and the known secrets."""

    azure: stack.Stack
    texts: dict[str, str] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)

    def add(self, place: str, text: str) -> None:
        """Add a text of a place."""
        self.texts[place] = self.texts.get(place, "") + text + "\n"

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request to the function host, and add the response to the texts."""
        async with httpx.AsyncClient(timeout=100, trust_env=False) as http:
            response = await http.request(method, f"{self.azure.hosts[0]}/api/{path}", **options)
        self.add(f"response {method} {path[:40]}", f"{response.headers}{response.content.decode('latin-1')}")
        return response


def find_secrets(texts: dict[str, str], secrets: set[str]) -> list[str]:
    """Return the kind and the place of every secret in the texts."""
    kinds = [(name, re.compile(pattern)) for name, pattern in PATTERNS.items()]
    kinds += [("a known secret", re.compile(re.escape(secret))) for secret in secrets]
    hits = [
        (place, name, match) for place, text in texts.items() for name, form in kinds if (match := form.search(text))
    ]
    return [
        f"{name} in {place}: …{match.string[max(0, match.start() - 60) : match.end()]}" for place, name, match in hits
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def evidence() -> AsyncIterator[Evidence]:
    """Process good and bad images and requests, and end the pool at last."""
    lines: list[tuple[str, str]] = []
    options = stack.StackOptions(data=None, max_sessions=2, identity=True)
    async with stack.running(options, lambda part, line: lines.append((part, line))) as azure:
        evidence = Evidence(azure, secrets={emulator.KEY, azure.settings["IDENTITY_HEADER"]})
        trust = azure.settings["SSL_CERT_FILE"]
        uris = [azure.settings[f"IMAGES__{kind}ServiceUri"] for kind in ("blob", "queue", "table")]
        async with BlobServiceClient(uris[0], emulator.KEY, connection_verify=trust) as blobs:
            await _work(evidence, blobs)
            await _storage(evidence, blobs)
        async with QueueServiceClient(uris[1], emulator.KEY, connection_verify=trust) as queues:
            await _queues(evidence, queues)
        named = {"credential": _named_key(), "connection_verify": trust}
        async with TableServiceClient(uris[2], **named) as tables:
            await _tables(evidence, tables)
        for part, line in lines:
            evidence.add(f"log of {part}", line)
        yield evidence


def _named_key() -> Any:
    from azure.core.credentials import AzureNamedKeyCredential

    return AzureNamedKeyCredential(emulator.ACCOUNT, emulator.KEY)


async def _work(evidence: Evidence, blobs: BlobServiceClient) -> None:
    for name, body in {
        "good.jpg": image_bytes(300, 200),
        "bad.jpg": image_bytes()[:900],
        "none.jpg": b"no image",
    }.items():
        await blobs.get_blob_client("input", name).upload_blob(body)
    for name in ("good.jpg", "bad.jpg", "none.jpg", "missing.jpg"):
        response = await evidence.request("POST", "jobs", json={"source": name, "recipe": "web"})
        await _remember(evidence, blobs)
        if "id" in response.json():
            await evidence.request("GET", f"jobs/{response.json()['id']}")
    image = {"content": image_bytes(80, 60), "headers": {"Content-Type": "image/jpeg", "Accept": "image/*"}}
    await evidence.request("POST", "jobs?recipe=tutorial", **image)
    for path in ("jobs", "jobs?state=failed", "health", "openapi.json", "pool", "recipes", "jobs/no.job", "elsewhere"):
        await evidence.request("GET", path)
    await evidence.request("POST", "jobs", content=b"{")
    await evidence.request("POST", "jobs", json={"source": "https://evil.example/a.jpg?sig=1", "recipe": "web"})
    evidence.azure.processes["session-pool"].kill()
    await evidence.azure.processes["session-pool"].wait_for_exit()
    await blobs.get_blob_client("input", "late.jpg").upload_blob(image_bytes(200, 100))
    await evidence.request("POST", "jobs", json={"source": "late.jpg", "recipe": "web"}, headers={"Prefer": "wait=3"})


async def _remember(evidence: Evidence, blobs: BlobServiceClient) -> None:
    """Remember the identifiers of the present sessions: the slot documents hold them, and nothing else may."""
    slots = blobs.get_container_client("pipeline")
    async for blob in slots.list_blobs(name_starts_with="slots/"):
        document = json.loads(await (await slots.download_blob(blob.name)).readall())
        evidence.secrets |= {document["identifier"]} if document.get("identifier") else set()


async def _storage(evidence: Evidence, blobs: BlobServiceClient) -> None:
    await _remember(evidence, blobs)
    async for container in blobs.list_containers():
        client = blobs.get_container_client(container.name)
        async for blob in client.list_blobs(include=["metadata"]):
            if not blob.name.startswith("slots/"):
                body = await (await client.download_blob(blob.name)).readall()
                evidence.add(f"container {container.name}", f"{blob.name} {blob.metadata} {body.decode('latin-1')}")


async def _queues(evidence: Evidence, queues: QueueServiceClient) -> None:
    async for queue in queues.list_queues():
        for message in await queues.get_queue_client(queue.name).peek_messages(max_messages=32):
            evidence.add(f"queue {queue.name}", str(message.content))


async def _tables(evidence: Evidence, tables: TableServiceClient) -> None:
    async for table in tables.list_tables():
        async for row in tables.get_table_client(table.name).list_entities():
            evidence.add(f"table {table.name}", str(dict(row)))


async def test_no_log_response_or_stored_data_holds_a_secret(evidence: Evidence) -> None:
    assert len(evidence.secrets) >= 3, "the identifiers of the sessions are known"
    places = " ".join(evidence.texts)
    for expected in (
        "log of host-1",
        "log of session-pool",
        "log of azurite",
        "table ",
        "container output",
        "response POST",
    ):
        assert expected in places
    assert "good.jpg" in evidence.texts["log of host-1"] or "[web." in evidence.texts["log of host-1"]
    assert find_secrets(evidence.texts, evidence.secrets) == []


async def test_the_search_for_secrets_finds_them(evidence: Evidence) -> None:
    for secret in (*evidence.secrets, "Bearer " + "a" * 30, "eyJhbGciOiJub25l.eyJhdWQiOiJodHRwcw.", "x?sig=abcdef"):
        assert find_secrets({"here": f"some text {secret} and more"}, evidence.secrets)


async def test_other_sites_cannot_call_the_api_from_a_browser(evidence: Evidence) -> None:
    for method, path in (("OPTIONS", "jobs"), ("GET", "recipes"), ("POST", "jobs")):
        response = await evidence.request(method, path, headers=ORIGIN)
        assert not [name for name in response.headers if name.lower().startswith("access-control-allow")]


async def test_no_response_shows_internals_of_the_app(evidence: Evidence) -> None:
    responses = "".join(text for place, text in evidence.texts.items() if place.startswith("response"))
    assert "Traceback" not in responses
    assert 'File "' not in responses
    assert "/site-packages/" not in responses
