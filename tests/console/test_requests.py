"""Requests to the console without a browser, on services in memory."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from pipeline.console import templates
from pipeline.storage.entry import Entry
from pipeline.storage.keys import JobKey, source_of
from tests.console.client import ConsoleClient, console_in_memory, text_of
from tests.console.sources import RECIPES, SOURCES
from tests.memory import Memory
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAMES = ("photos/harbour.jpg", "photos/beach.png", "photos/broken.jpg", "photos/cut.jpg")
MANY_DIGITS = "9" * 400


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened() -> AsyncIterator[tuple[ConsoleClient, Memory]]:
    """A console with two jobs done and two failed."""
    async with console_in_memory(RECIPES, pool_max_sessions=2) as (client, memory):
        for name in NAMES:
            await memory.upload(name, SOURCES[name])
            await memory.services.dispatcher.handle_blob("input", name)
        yield client, memory


@pytest.fixture
def client(opened: tuple[ConsoleClient, Memory]) -> ConsoleClient:
    return opened[0]


@pytest.fixture
def memory(opened: tuple[ConsoleClient, Memory]) -> Memory:
    return opened[1]


def job_path(name: str) -> str:
    return f"/jobs/{JobKey.of('web', 'input', name).id}"


def image_path(name: str) -> str:
    return f"/images/{JobKey.of('web', 'input', name).id}/source"


async def entry(memory: Memory, name: str) -> Entry:
    found = await memory.entry("web", name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/jobs/nonsense", 404),
        ("/jobs/web.QUFB", 404),
        ("/jobs?state=odd", 400),
        ("/jobs?before=yesterday", 400),
        ("/jobs?container=pipeline&name=x", 400),
        ("/jobs?cursor=e30x", 400),
        ("/recipes/none", 404),
        ("/recipes/stamped", 200),
        ("/runs?cursor=zzz", 400),
        ("/runs/none", 404),
        ("/runs/plans/none", 404),
        ("/static/none.js", 404),
        (f"/static/{MANY_DIGITS}.css", 404),
        (f"?notice=retried&count={MANY_DIGITS}", 200),
        (f"/nothing?notice=retried&count={MANY_DIGITS}", 404),
        ("/static/..%2froutes.py", 404),
    ],
)
async def test_an_invalid_url_gets_an_error_page(client: ConsoleClient, path: str, status: int) -> None:
    response = await client.get(path)
    assert response.status_code == status
    assert "Traceback" not in text_of(response)


async def test_every_page_has_a_content_security_policy(client: ConsoleClient) -> None:
    for path in ("", "/jobs", job_path(NAMES[0]), "/failures", "/runs", "/recipes", "/playground", "/pool", "/nothing"):
        response = await client.get(path)
        assert "script-src 'self'" in response.headers["content-security-policy"], path
        assert response.headers["cache-control"] == "no-store"


def image_urls(job: Entry) -> dict[str, str]:
    """Map the versioned URLs of the source and the first rendition of a job to their paths without a version."""
    name = job.renditions[0]["name"]
    return {
        templates.source_url(job.key.id, job.version.etag): f"/images/{job.key.id}/source",
        templates.rendition_url(job.key.id, job.renditions[0]): f"/images/{job.key.id}/rendition/{name}",
    }


async def test_browsers_cache_images_only_under_a_version(client: ConsoleClient, memory: Memory) -> None:
    html = text_of(await client.get(job_path("photos/beach.png")))
    for url, path in image_urls(await entry(memory, "photos/beach.png")).items():
        assert f'src="{url}"' in html
        response = await client.get(url.removeprefix("/api/console"))
        assert response.headers["cache-control"] == "private, max-age=86400"
        for other in (path, url.removeprefix("/api/console")[:-1] + "x"):
            response = await client.get(other)
            assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")


async def test_images_are_sandboxed_and_others_become_placeholders(client: ConsoleClient) -> None:
    source = await client.get(image_path("photos/harbour.jpg"))
    assert (source.mimetype, source.headers["x-content-type-options"]) == ("image/jpeg", "nosniff")
    assert "sandbox" in source.headers["content-security-policy"]
    broken = await client.get(image_path("photos/broken.jpg"))
    assert (broken.status_code, broken.mimetype) == (200, "image/svg+xml")
    assert "not an image" in text_of(broken)


@pytest.mark.parametrize("source", ["../../secret", "slots/000.json", "photos/none.jpg", "pipeline/slots/000.json", ""])
async def test_only_blobs_of_the_input_are_displayed(client: ConsoleClient, source: str) -> None:
    response = await client.get("/images/blob", source=source)
    assert response.mimetype == "image/svg+xml"
    assert b"identifier" not in response.get_body()


async def listed(client: ConsoleClient, **query: str) -> list[str]:
    """Return the names of the jobs on a page, from its links."""
    html = text_of(await client.get("/jobs", **query))
    keys = [JobKey.parse(each) for each in re.findall(r'class="what"><a href="/api/console/jobs/([^"]+)"', html)]
    return [name for source in map(source_of, keys) if source for name in source[1:]]


async def test_job_filters_can_be_combined(client: ConsoleClient, memory: Memory) -> None:
    harbour, beach = [await entry(memory, name) for name in ("photos/harbour.jpg", "photos/beach.png")]
    all_names = await listed(client)
    assert {harbour.name, beach.name} <= set(all_names)
    assert set(await listed(client, container="input")) == set(all_names)
    assert await listed(client, container="uploads") == []
    first, last = sorted((harbour, beach), key=lambda each: each.since)
    before = last.since.isoformat().replace("+00:00", "")
    for name in ("", "photos/"):
        names = await listed(client, name=name, before=before)
        assert first.name in names
        assert last.name not in names


async def test_session_cost_is_shown_with_its_basis(client: ConsoleClient) -> None:
    for path in ("", "/pool"):
        html = text_of(await client.get(path))
        assert re.search(r"Session cost today.*\$0\.\d+<small>at least; \d+ session-hours?; this month \$", html)
        assert "does not include storage and function instances" in html


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"newer": "1e308"}, "Modified within (hours): &#39;1e308&#39; is not a number of at least 0"),
        ({"newer": "inf"}, "Modified within (hours): &#39;inf&#39; is not a number of at least 0"),
        ({"newer": "999999999999"}, "Modified within (hours): 999999999999 exceeds the maximum 2,777,778"),
        ({"newer": "0"}, "Modified within (hours): Input should be greater than 0"),
        ({"older": "-5"}, "Modified before (hours ago): &#39;-5&#39; is not a number of at least 0"),
        ({"sample": "1,5"}, "Sample size (jobs): "),
        ({"prefix": "a\x01b"}, "Names that start with: contains characters that blob names cannot contain"),
    ],
)
async def test_an_invalid_plan_form_is_rejected(client: ConsoleClient, typed: dict[str, str], message: str) -> None:
    form = {"csrf_token": await client.csrf_token(), "reason-new": "on", **typed}
    response = await client.post("/runs/plan", form)
    assert (response.status_code, message in text_of(response)) == (422, True)


@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-site": "none"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "cross-site", "origin": "null"}],
)
async def test_a_form_of_another_site_changes_nothing(client: ConsoleClient, headers: dict[str, str]) -> None:
    form = {"csrf_token": await client.csrf_token()}
    assert form["csrf_token"]
    response = await client.post(f"{job_path(NAMES[0])}/retry", form, **headers)
    assert response.status_code == 403
    assert (await client.post(f"{job_path(NAMES[0])}/retry", {"csrf_token": "stale"})).status_code == 403


async def test_a_method_without_a_route_gets_the_allowed_ones(client: ConsoleClient) -> None:
    response = await client.post("/jobs", {})
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")


async def test_a_job_is_dismissed_by_two_users_without_an_error(client: ConsoleClient, memory: Memory) -> None:
    form = {"csrf_token": await client.csrf_token()}
    for _ in range(2):
        response = await client.post(f"{job_path('photos/cut.jpg')}/dismiss", form)
        assert (response.status_code, response.headers["location"].partition("?")[2]) == (303, "notice=dismissed")
    assert (await entry(memory, "photos/cut.jpg")).state == "dismissed"


async def test_an_expired_claim_is_shown_instead_of_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    async with console_in_memory(RECIPES) as (client, memory):
        await memory.upload(NAMES[0], SOURCES[NAMES[0]])
        await memory.services.dispatcher.handle_blob("input", NAMES[0])
        for path in ("", "/jobs", job_path(NAMES[0])):
            assert "claim expired" not in text_of(await client.get(path)), path
        monkeypatch.setattr(Entry, "claim_expired", property(lambda _: True))
        for path in ("", "/jobs", job_path(NAMES[0])):
            assert "claim expired" in text_of(await client.get(path)), path


async def test_an_idle_session_is_recycled() -> None:
    async with console_in_memory(RECIPES, pool_max_sessions=2) as (client, memory):
        form = {"csrf_token": await client.csrf_token()}
        async with memory.services.scheduler.acquire_slot() as session:
            number, generation = map(int, session.name.split("."))
        assert f"/pool/{number}/recycle" in text_of(await client.get("/pool"))
        response = await client.post(f"/pool/{number}/recycle", form)
        assert response.headers["location"] == "/api/console/pool?notice=draining"

        async def is_recycled() -> bool:
            return (await memory.services.pool_monitor.overview()).slots[number].generation > generation

        await eventually(is_recycled)
        unused = await client.post(f"/pool/{1 - number}/recycle", form)
        assert unused.headers["location"] == "/api/console/pool?notice=no_session"
        assert (await client.post("/pool/2/recycle", form)).status_code == 404
