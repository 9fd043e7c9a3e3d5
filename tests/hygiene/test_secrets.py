"""A run on the whole stack, by identity: nothing that it says, keeps or answers holds a secret."""

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
from tests.images import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATTERNS = {
    "a token": r"eyJ[\w-]{10,}\.[\w-]{10,}\.",
    "a header with a token": r"(?i)bearer\s+[\w-]{20,}",
    "a connection string": r"AccountKey=|SharedAccessKey=",
    "a signed address": r"(?i)[?&](sig|code|identifier)=[^&\s\"]{4,}|SharedAccessSignature",
}
ORIGIN = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}


@dataclass
class Run:
    """Everything that a run said, kept and answered, by where it was found; and the secrets that there were."""

    azure: stack.Stack
    told: dict[str, str] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)

    def tell(self, where: str, text: str) -> None:
        self.told[where] = self.told.get(where, "") + text + "\n"

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request to the function host, whose answer is kept."""
        async with httpx.AsyncClient(timeout=100, trust_env=False) as http:
            answer = await http.request(method, f"{self.azure.hosts[0]}/api/{path}", **options)
        self.tell(f"answer {method} {path[:40]}", f"{answer.headers}{answer.content.decode('latin-1')}")
        return answer


def found(told: dict[str, str], secrets: set[str]) -> list[str]:
    """Where a secret stands, and which kind."""
    kinds = [(name, re.compile(pattern)) for name, pattern in PATTERNS.items()]
    kinds += [("a known secret", re.compile(re.escape(secret))) for secret in secrets]
    hits = [
        (where, name, match) for where, text in told.items() for name, form in kinds if (match := form.search(text))
    ]
    return [
        f"{name} in {where}: …{match.string[max(0, match.start() - 60) : match.end()]}" for where, name, match in hits
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run() -> AsyncIterator[Run]:
    """Good and bad photos, good and bad requests, and at last a pool that is gone."""
    lines: list[tuple[str, str]] = []
    options = stack.StackOptions(data=None, max_sessions=2, identity=True)
    async with stack.running(options, lambda part, line: lines.append((part, line))) as azure:
        run = Run(azure, secrets={emulator.KEY, azure.settings["IDENTITY_HEADER"]})
        trust = azure.settings["SSL_CERT_FILE"]
        uris = [azure.settings[f"IMAGES__{kind}ServiceUri"] for kind in ("blob", "queue", "table")]
        async with BlobServiceClient(uris[0], emulator.KEY, connection_verify=trust) as blobs:
            await _work(run, blobs)
            await _storage(run, blobs)
        async with QueueServiceClient(uris[1], emulator.KEY, connection_verify=trust) as queues:
            await _queues(run, queues)
        named = {"credential": _named_key(), "connection_verify": trust}
        async with TableServiceClient(uris[2], **named) as tables:
            await _tables(run, tables)
        for part, line in lines:
            run.tell(f"log of {part}", line)
        yield run


def _named_key() -> Any:
    from azure.core.credentials import AzureNamedKeyCredential

    return AzureNamedKeyCredential(emulator.ACCOUNT, emulator.KEY)


async def _work(run: Run, blobs: BlobServiceClient) -> None:
    for name, body in {"good.jpg": picture(300, 200), "bad.jpg": picture()[:900], "none.jpg": b"no image"}.items():
        await blobs.get_blob_client("input", name).upload_blob(body)
    for name in ("good.jpg", "bad.jpg", "none.jpg", "missing.jpg"):
        answer = await run.ask("POST", "jobs", json={"source": name, "recipe": "web"})
        await _remember(run, blobs)
        if "id" in answer.json():
            await run.ask("GET", f"jobs/{answer.json()['id']}")
    image = {"content": picture(80, 60), "headers": {"Content-Type": "image/jpeg", "Accept": "image/*"}}
    await run.ask("POST", "jobs?recipe=tutorial", **image)
    for path in ("jobs", "jobs?state=failed", "health", "openapi.json", "pool", "recipes", "jobs/no.job", "elsewhere"):
        await run.ask("GET", path)
    await run.ask("POST", "jobs", content=b"{")
    await run.ask("POST", "jobs", json={"source": "https://evil.example/a.jpg?sig=1", "recipe": "web"})
    run.azure.processes["session-pool"].kill()
    await run.azure.processes["session-pool"].wait_for_exit()
    await blobs.get_blob_client("input", "late.jpg").upload_blob(picture(200, 100))
    await run.ask("POST", "jobs", json={"source": "late.jpg", "recipe": "web"}, headers={"Prefer": "wait=3"})


async def _remember(run: Run, blobs: BlobServiceClient) -> None:
    """The identifiers of the sessions that there are now: the slots' documents name them, and nothing else may."""
    slots = blobs.get_container_client("pipeline")
    async for blob in slots.list_blobs(name_starts_with="slots/"):
        document = json.loads(await (await slots.download_blob(blob.name)).readall())
        run.secrets |= {document["identifier"]} if document.get("identifier") else set()


async def _storage(run: Run, blobs: BlobServiceClient) -> None:
    await _remember(run, blobs)
    async for container in blobs.list_containers():
        client = blobs.get_container_client(container.name)
        async for blob in client.list_blobs(include=["metadata"]):
            if not blob.name.startswith("slots/"):
                body = await (await client.download_blob(blob.name)).readall()
                run.tell(f"container {container.name}", f"{blob.name} {blob.metadata} {body.decode('latin-1')}")


async def _queues(run: Run, queues: QueueServiceClient) -> None:
    async for queue in queues.list_queues():
        for message in await queues.get_queue_client(queue.name).peek_messages(max_messages=32):
            run.tell(f"queue {queue.name}", str(message.content))


async def _tables(run: Run, tables: TableServiceClient) -> None:
    async for table in tables.list_tables():
        async for row in tables.get_table_client(table.name).list_entities():
            run.tell(f"table {table.name}", str(dict(row)))


async def test_nothing_that_is_said_kept_or_answered_holds_a_secret(run: Run) -> None:
    assert len(run.secrets) >= 3, "the sessions' identifiers are known"
    places = " ".join(run.told)
    for place in (
        "log of host-1",
        "log of session-pool",
        "log of azurite",
        "table ",
        "container output",
        "answer POST",
    ):
        assert place in places
    assert "good.jpg" in run.told["log of host-1"] or "[web." in run.told["log of host-1"]
    assert found(run.told, run.secrets) == []


async def test_what_looks_for_secrets_finds_them(run: Run) -> None:
    for secret in (*run.secrets, "Bearer " + "a" * 30, "eyJhbGciOiJub25l.eyJhdWQiOiJodHRwcw.", "x?sig=abcdef"):
        assert found({"here": f"some text {secret} and more"}, run.secrets)


async def test_no_other_site_may_call_the_api_from_a_browser(run: Run) -> None:
    for method, path in (("OPTIONS", "jobs"), ("GET", "recipes"), ("POST", "jobs")):
        answer = await run.ask(method, path, headers=ORIGIN)
        assert not [name for name in answer.headers if name.lower().startswith("access-control-allow")]


async def test_no_failure_shows_the_inside_of_the_app(run: Run) -> None:
    told = "".join(text for where, text in run.told.items() if where.startswith("answer"))
    assert "Traceback" not in told
    assert 'File "' not in told
    assert "/site-packages/" not in told
