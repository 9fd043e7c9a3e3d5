"""One function host with some jobs, and one browser, for all browser tests of the console."""

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
from tests.console.sources import RECIPES, SOURCES
from tests.stack import Stack, environment, open_stack
from tests.waiting import eventually

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
# Long, because test machines are busy.
TIMEOUT_MS = 40_000
expect.set_options(timeout=TIMEOUT_MS)
# Report violations of the content security policy as errors.
REPORT_VIOLATIONS = (
    "document.addEventListener('securitypolicyviolation',"
    " (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`))"
)


@dataclass
class Site:
    """The console of a running host, and services on its storage and pool."""

    url: str
    stack: Stack

    @property
    def console(self) -> str:
        """The URL of the overview."""
        return f"{self.url}/api/console"


@asynccontextmanager
async def hosted(environ: dict[str, str]) -> AsyncIterator[Site]:
    """Run a function host with these settings."""
    async with open_stack(environ) as stack:
        argv = [sys.executable, "-m", "devstack", "host", "--app", ROOT, "--port", "0", "--grace", "2"]
        async with subprocesses.running("host", argv, env=environ, cwd=ROOT, grace=10) as host:
            yield Site((await host.wait_for_line(r"function host ready: (\S+)", timeout=90))[1], stack)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def site(azurite: str, session_pool: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A console with jobs done and failed, some of them with hostile names.

    Sessions stay idle for a second only, so that the services of the tests get slots too.
    """
    recipes = tmp_path_factory.mktemp("console") / "recipes.yaml"
    recipes.write_text(RECIPES)
    environ = environment(azurite, session_pool, recipes) | {
        "PIPELINE_CONSOLE_ACCESS": "open",
        "PIPELINE_SESSION_IDLE_TIMEOUT": "1",
    }
    async with hosted(environ) as site:
        await asyncio.gather(*(site.stack.upload(name, data) for name, data in SOURCES.items()))

        async def all_ended() -> bool:
            states = [entry.state for entry in (await site.stack.services.ledger.page(limit=100))[0]]
            return len(states) >= len(SOURCES) and set(states) <= {"done", "failed"}

        await eventually(all_ended, timeout=90, every=0.3)
        yield site


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium; without it, the tests are skipped."""
    executable = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if executable is None:
        pytest.skip("no browser (Debian, Ubuntu: apt install chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of the accessibility checker."""
    return node.npm_file("axe-core", "axe.min.js").read_text()


@dataclass
class Pages:
    """Opens pages, and collects their errors and warnings. `allowed` are HTTP statuses that a test expects."""

    browser: Browser
    stack: AsyncExitStack
    problems: list[str]
    allowed: set[int]

    async def context(self, **options: object) -> BrowserContext:
        """Open a new browser profile."""
        context = await self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})  # type: ignore[arg-type]
        context.set_default_timeout(TIMEOUT_MS)
        self.stack.push_async_callback(context.close)
        await context.add_init_script(REPORT_VIOLATIONS)
        return context

    async def open(self, url: str = "", **options: object) -> Page:
        """Open a page in a new profile, at a URL if one is given."""
        page = await (await self.context(**options)).new_page()
        page.on("console", self._record_message)
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("dialog", self.record_dialog)
        if url:
            await page.goto(url)
        return page

    def _record_message(self, message: ConsoleMessage) -> None:
        is_expected = any(f"status of {status} " in message.text for status in self.allowed)
        if message.type in ("error", "warning") and not is_expected:
            self.problems.append(f"{message.type}: {message.text}")

    async def record_dialog(self, dialog: object) -> None:
        self.problems.append(f"dialog: {dialog}")
        await dialog.dismiss()  # type: ignore[attr-defined]


@pytest_asyncio.fixture(loop_scope="session")
async def pages(browser: Browser) -> AsyncIterator[Pages]:
    """Pages for one test. At its end, none of them may have reported a problem."""
    async with AsyncExitStack() as stack:
        pages = Pages(browser, stack, [], set())
        yield pages
    assert pages.problems == []
