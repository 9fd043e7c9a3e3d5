"""Sign-in with a function key in a browser. The local host checks no keys, so every key is valid."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import expect

from pipeline.console.auth import COOKIE_NAME
from tests.console.conftest import Pages, Site, hosted

# The first test waits for the host, the jobs and the browser of all.
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded(site: Site) -> AsyncIterator[Site]:
    """A second host on the same storage; its console requires keys."""
    async with hosted({**site.stack.environ, "PIPELINE_CONSOLE_ACCESS": "keys"}) as guarded:
        yield guarded


@pytest.mark.parametrize(
    "path", ["", "/jobs", "/pool", "/playground", "/nothing", "/images/blob?source=photos/harbour.jpg"]
)
async def test_without_a_key_every_url_shows_the_sign_in_page(guarded: Site, path: str) -> None:
    async with httpx.AsyncClient() as client:
        for method in ("GET", "POST"):
            response = await client.request(method, guarded.console + path)
            assert (response.status_code, "Function key" in response.text) == (401, True)
            assert "harbour" not in response.text.replace("source=photos/harbour.jpg", "").replace("%2Fharbour", "")


async def test_a_key_opens_the_requested_page_and_stays_out_of_urls(guarded: Site, pages: Pages) -> None:
    pages.allowed |= {401}
    page = await pages.open(f"{guarded.console}/jobs?state=done")
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    await page.fill("[name=code]", "the-key")
    await page.click("button.main")
    await expect(page.locator("#list")).to_be_visible()  # the sign-in has the same address
    await expect(page).to_have_url(f"{guarded.console}/jobs?state=done")
    assert not [url for url in urls if "the-key" in url]
    (cookie,) = await page.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (
        COOKIE_NAME, True, "Strict", "/api/console",
    )  # fmt: skip
    assert "the-key" not in await page.content()
    await page.click("#list a >> nth=0")
    await expect(page.locator("button:has-text('Re-run')")).to_be_visible()
    await page.click("button:has-text('Sign out')")
    await expect(page.locator("h1")).to_have_text("Sign in")


async def test_a_reader_key_allows_no_changes(guarded: Site, pages: Pages) -> None:
    pages.allowed |= {401}
    page = await pages.open(f"{guarded.console}/jobs?state=done")
    await page.fill("[name=code]", "the-key")
    await page.click("button:has-text('read-only')")
    await page.click("#list a:has-text('photos/') >> nth=0")
    await expect(page.locator("h1")).to_contain_text("photos/")
    await expect(page.locator("button:has-text('Re-run')")).to_have_count(0)
    await page.goto(f"{guarded.console}/playground?source=photos/harbour.jpg")
    await expect(page.locator("#preview")).to_be_disabled()
    cookies = {COOKIE_NAME: (await page.context.cookies())[0]["value"]}
    token = await page.locator("input[name=csrf_token]").first.get_attribute("value") or ""
    async with httpx.AsyncClient(cookies=cookies, headers={"Sec-Fetch-Site": "same-origin"}) as client:
        for path in ("/playground", "/failures/retry", "/runs/plan", "/pool/0/recycle"):
            response = await client.post(guarded.console + path, data={"csrf_token": token})
            assert (response.status_code, path) == (403, path)


async def test_without_scripts_the_key_is_in_no_later_url(guarded: Site, pages: Pages) -> None:
    pages.allowed |= {401}
    page = await pages.open(guarded.console, java_script_enabled=False)
    await page.fill("[name=code]", "the-key")
    await page.click("button.main")
    await expect(page.locator("h1")).to_have_text("Overview")
    await expect(page).to_have_url(guarded.console)
