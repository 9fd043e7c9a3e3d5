"""One function host with some jobs behind it, and one browser, for all tests of the console."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect

from devstack import node, subprocesses
from devstack.state import ROOT
from tests.console.pictures import SOURCES
from tests.stack import Stack, environment, opened
from tests.waiting import eventually

RECIPES = """
recipes:
  web:
    description: For the shop window.
    match: {include: ["photos/**"]}
    transforms: [{crop: {aspect: "3:2", gravity: [focal, center]}}]
    renditions:
      large: {format: webp, quality: 80, transforms: [{resize: {width: 320}}]}
      thumb: {format: jpeg, transforms: [{resize: {width: 64, height: 64, mode: cover}}]}
  stamped:
    isolation: trusted
    match: {include: ["stamped/**"]}
    transforms: [{watermark: {image: logo.png}}]
    renditions:
      stamped: {format: png}
"""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
# Machines that test are busy: what is waited for may take its time.
PATIENCE = 40_000
expect.set_options(timeout=PATIENCE)
# A page tells the test what its policy has blocked, as an error like any other.
REPORT = (
    "document.addEventListener('securitypolicyviolation',"
    " (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`))"
)


@dataclass
class Site:
    """The console of a running host, and the services behind it."""

    url: str
    stack: Stack

    @property
    def console(self) -> str:
        """The address of the first page."""
        return f"{self.url}/api/console"


@asynccontextmanager
async def hosted(environ: dict[str, str]) -> AsyncIterator[Site]:
    """A function host with these settings."""
    async with opened(environ) as stack:
        argv = [sys.executable, "-m", "devstack", "host", "--app", ROOT, "--port", "0", "--grace", "2"]
        async with subprocesses.running("host", argv, env=environ, cwd=ROOT, grace=10) as host:
            yield Site((await host.wait_for_line(r"function host ready: (\S+)", timeout=90))[1], stack)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def site(azurite: str, session_pool: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A console that shows jobs that are done, jobs that failed, and names that nobody would choose."""
    recipes = tmp_path_factory.mktemp("console") / "recipes.yaml"
    recipes.write_text(RECIPES)
    environ = environment(azurite, session_pool, recipes) | {
        "PIPELINE_CONSOLE_ACCESS": "open",
        "PIPELINE_SESSION_IDLE_TIMEOUT": "1",
    }
    async with hosted(environ) as site:
        await asyncio.gather(*(site.stack.drop(name, data) for name, data in SOURCES.items()))

        async def all_ended() -> bool:
            states = [entry.state for entry in (await site.stack.services.ledger.page(limit=100))[0]]
            return len(states) >= len(SOURCES) and set(states) <= {"done", "failed"}

        await eventually(all_ended, timeout=90, every=0.3)
        yield site


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium, or whatever there is of its kind; without one the tests say so and are skipped."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no browser: the console is not tested in one (Debian, Ubuntu: apt install chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The accessibility checker, as a script."""
    return node.npm_file("axe-core", "axe.min.js").read_text()


@dataclass
class Visits:
    """Opens pages, and keeps what their consoles complain of. `allowed` are statuses that a test means to get."""

    browser: Browser
    stack: AsyncExitStack
    complaints: list[str]
    allowed: set[int]

    async def context(self, **options: object) -> BrowserContext:
        """A fresh browser profile."""
        context = await self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE)
        self.stack.push_async_callback(context.close)
        await context.add_init_script(REPORT)
        return context

    async def page(self, address: str = "", **options: object) -> Page:
        """A page in a profile of its own, at an address if one is given."""
        page = await (await self.context(**options)).new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("dialog", self._surprised)
        if address:
            await page.goto(address)
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        expected = any(f"status of {status} " in message.text for status in self.allowed)
        if message.type in ("error", "warning") and not expected:
            self.complaints.append(f"{message.type}: {message.text}")

    async def _surprised(self, dialog: object) -> None:
        self.complaints.append(f"dialog: {dialog}")
        await dialog.dismiss()  # type: ignore[attr-defined]


@pytest_asyncio.fixture(loop_scope="session")
async def visits(browser: Browser) -> AsyncIterator[Visits]:
    """Pages for one test; at its end none of them may have complained of anything."""
    async with AsyncExitStack() as stack:
        visits = Visits(browser, stack, [], set())
        yield visits
    assert visits.complaints == []
