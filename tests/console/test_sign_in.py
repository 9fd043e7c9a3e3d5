"""Signing in with a function key, in a browser. The host here asks for no keys, as hosts on a laptop do not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import expect

from pipeline.console.auth import COOKIE
from tests.console.conftest import Site, Visits, hosted

# The first of them pays for the host, the jobs and the browser of all.
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded(site: Site) -> AsyncIterator[Site]:
    """A second host on the same storage, whose console asks for keys."""
    async with hosted({**site.stack.environ, "PIPELINE_CONSOLE_ACCESS": "keys"}) as guarded:
        yield guarded


@pytest.mark.parametrize(
    "path", ["", "/jobs", "/pool", "/playground", "/nothing", "/pictures/blob?source=photos/harbour.jpg"]
)
async def test_without_a_key_there_is_only_the_sign_in(guarded: Site, path: str) -> None:
    async with httpx.AsyncClient() as client:
        for method in ("GET", "POST"):
            answer = await client.request(method, guarded.console + path)
            assert (answer.status_code, "Function key" in answer.text) == (401, True)
            assert "harbour" not in answer.text.replace("source=photos/harbour.jpg", "").replace("%2Fharbour", "")


async def test_a_key_opens_the_page_that_was_asked_for_and_stays_out_of_addresses(
    guarded: Site, visits: Visits
) -> None:
    visits.allowed |= {401}
    page = await visits.page(f"{guarded.console}/jobs?state=done")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.fill("[name=code]", "the-key")
    await page.click("button.main")
    await expect(page.locator("#list")).to_be_visible()  # the sign-in has the same address
    await expect(page).to_have_url(f"{guarded.console}/jobs?state=done")
    assert not [url for url in asked if "the-key" in url]
    (cookie,) = await page.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (
        COOKIE, True, "Strict", "/api/console",
    )  # fmt: skip
    assert "the-key" not in await page.content()
    await page.click("#list a >> nth=0")
    await expect(page.locator("button:has-text('Do it again')")).to_be_visible()
    await page.click("button:has-text('Sign out')")
    await expect(page.locator("h1")).to_have_text("Sign in")


async def test_a_key_to_look_changes_nothing(guarded: Site, visits: Visits) -> None:
    visits.allowed |= {401}
    page = await visits.page(f"{guarded.console}/jobs?state=done")
    await page.fill("[name=code]", "the-key")
    await page.click("button:has-text('look only')")
    await page.click("#list a >> nth=0")
    await expect(page.locator("h1")).to_contain_text("photos/")
    await expect(page.locator("button:has-text('Do it again')")).to_have_count(0)
    await page.goto(f"{guarded.console}/playground?source=photos/harbour.jpg")
    await expect(page.locator("#run")).to_be_disabled()
    cookies = {COOKIE: (await page.context.cookies())[0]["value"]}
    token = await page.locator("input[name=token]").first.get_attribute("value") or ""
    async with httpx.AsyncClient(cookies=cookies, headers={"Sec-Fetch-Site": "same-origin"}) as client:
        for path in ("/playground", "/failures/retry", "/runs/plan", "/pool/0/recycle"):
            answer = await client.post(guarded.console + path, data={"token": token})
            assert (answer.status_code, path) == (403, path)


async def test_without_scripts_the_key_goes_once_in_the_address_that_is_left_at_once(
    guarded: Site, visits: Visits
) -> None:
    visits.allowed |= {401}
    page = await visits.page(guarded.console, java_script_enabled=False)
    await page.fill("[name=code]", "the-key")
    await page.click("button.main")
    await expect(page.locator("h1")).to_have_text("Overview")
    await expect(page).to_have_url(guarded.console)
