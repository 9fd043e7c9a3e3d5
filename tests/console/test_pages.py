"""Every page in a real browser, on a real host: function, accessibility, layout, and no errors."""

from __future__ import annotations

import base64
import json
import re

import httpx
import pytest
from playwright.async_api import Locator, Page, expect

from pipeline.pool import status
from pipeline.pool.requests import JobLabel
from pipeline.recipes import loads
from pipeline.storage.keys import JobKey
from tests.console.conftest import Pages, Site
from tests.console.sources import HOSTILE_NAMES
from tests.images import image_bytes
from tests.waiting import eventually

# The first test waits for the host, the jobs and the browser of all.
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]
MAX_PAGE_BYTES = 100_000
NARROW = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark", "is_mobile": True, "has_touch": True}
WIDE = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"}
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Half the width and a quarter of the height of 400 × 300; a hand is not more exact than a pixel of the screen.
QUARTER_SIZE = re.compile(r"(19[89]|20[0-2]) × 7[4-6]")
SHAPES = [(1512, 2016), (512, 512), (2500, 1000)]
"""Width and height of a portrait, a square and a panorama, each larger than its place in the playground."""


def job_id(site: Site, name: str, recipe: str = "web") -> str:
    return JobKey.of(recipe, site.stack.services.settings.input_container, name).id


def page_url(site: Site, path: str) -> str:
    """Return the URL of a page; `{done}` and `{failed}` in its path are jobs."""
    done, failed = job_id(site, "photos/harbour.jpg"), job_id(site, "photos/broken.jpg")
    return site.console + path.format(done=done, failed=failed)


ALL_RULES: list[str] = []
PATHS = (
    "?hours=24",
    "/jobs?name=photos/&recipe=web&state=done",
    "/jobs?name=nothing-like-that",
    "/jobs/{done}",
    "/jobs/{failed}",
    "/failures?kind=not_an_image",
    "/runs",
    "/runs/plan?recipe=web",
    "/recipes",
    "/recipes/web",
    "/playground",
    "/playground?recipe=web&source=photos/harbour.jpg",
    "/pool",
)


@pytest.mark.parametrize(("screen", "rules"), [(WIDE, ALL_RULES), (NARROW, ["color-contrast"])], ids=["wide", "narrow"])
async def test_every_page_is_accessible_and_fits(
    site: Site, pages: Pages, axe: str, screen: dict[str, object], rules: list[str]
) -> None:
    """Narrow screens get the same elements, so only the colors of the dark scheme are checked again."""
    page = await pages.open(**screen)
    await page.context.add_init_script(axe)
    for path in PATHS:
        response = await page.goto(page_url(site, path))
        assert response
        assert (response.status, path) == (200, path)
        html = await response.text()
        assert len(html.encode()) < MAX_PAGE_BYTES, path
        assert not re.search(r"<script(?! src=)|<style| style=| on[a-z]+=\"", html), path
        await expect(page.locator("h1")).to_have_count(1)
        overflow = await page.evaluate(OVERFLOW)
        assert overflow <= 0, f"{path} is {overflow} pixels too wide"
        await check_accessible(page, path, rules)


async def test_hostile_names_are_displayed_as_text(site: Site, pages: Pages) -> None:
    page = await pages.open(f"{site.console}/jobs?name=photos/")
    text = await page.locator("#list").inner_text()
    for name, shown in HOSTILE_NAMES.items():
        assert shown in text
        await page.goto(f"{site.console}/jobs/{job_id(site, name)}")
        await expect(page.locator("h1")).to_contain_text(shown)
        await expect(page.locator("img[onerror]")).to_have_count(0)
        await expect(page.locator(".compare img").first).to_be_visible()
        assert await page.evaluate(OVERFLOW) <= 0


async def test_a_preview_of_a_dropped_image_matches_the_yaml(site: Site, pages: Pages) -> None:
    page = await pages.open(f"{site.console}/playground")
    await drop(page, image_bytes(400, 300, "PNG"))
    caption = page.locator("#result figcaption")
    await expect(caption).to_contain_text("400 × 300 · webp")
    await expect(page.locator("#result")).to_contain_text("execution")
    await draw(page, (0.25, 0.25), (0.75, 0.5))
    await expect(caption).to_contain_text(QUARTER_SIZE)
    await page.select_option("#builder [name=transform]", "grayscale")
    await page.click("#builder button[value=add]")
    await page.select_option("#builder [name=format]", "png")
    await expect(caption).to_contain_text(re.compile(QUARTER_SIZE.pattern + " · png"))
    recipe = loads(await page.locator("#yaml").inner_text()).get("my-recipe")
    assert [step["name"] for step in recipe.steps] == ["crop", "grayscale"]
    box = [float(each.removesuffix("%")) for each in recipe.steps[0]["params"]["box"]]
    assert box == pytest.approx([25, 25, 75, 50], abs=0.6)
    natural = await page.locator("#result img").evaluate("(image) => `${image.naturalWidth} × ${image.naturalHeight}`")
    assert natural in await caption.inner_text()


@pytest.mark.parametrize(("width", "height"), [(1360, 850), (390, 844)], ids=["wide", "narrow"])
async def test_the_playground_draws_results_undistorted(site: Site, pages: Pages, width: int, height: int) -> None:
    page = await pages.open(f"{site.console}/playground", viewport={"width": width, "height": height})
    for image_width, image_height in SHAPES:
        await drop(page, image_bytes(image_width, image_height))
        await expect(page.locator("#result figcaption")).to_contain_text(f"{image_width} × {image_height}")
        result, pane = page.locator("#result .pane img"), await page.locator("#result .pane").bounding_box()
        await expect(result).to_have_js_property("complete", value=True)
        size = await result.evaluate("(image) => [image.naturalWidth, image.naturalHeight]")
        assert size == [image_width, image_height]
        drawn = await result.bounding_box()
        assert drawn
        assert pane
        assert drawn["width"] / drawn["height"] == pytest.approx(image_width / image_height, rel=0.01)
        assert drawn["width"] <= pane["width"]
        assert drawn["height"] <= min(pane["height"], 0.52 * height + 1)


async def test_a_focal_point_moves_a_crop(site: Site, pages: Pages) -> None:
    page = await pages.open(f"{site.console}/playground?recipe=web&source=photos/harbour.jpg")
    await expect(page.locator("#result img")).to_have_count(2)
    before = await page.locator("#result img").first.get_attribute("src")
    await page.click("#builder button[value=open]")
    await page.fill("#builder [name=step-0-aspect]", "1:3")
    await page.click("#stage label:has-text('Focal point')")
    await draw(page, (0.9, 0.5), (0.9, 0.5))
    await expect(page.locator("#readout")).to_contain_text("focal point 90%, 50%")
    await expect(page.locator("#result img")).to_have_count(1)
    assert await page.locator("#result img").get_attribute("src") != before


async def test_playground_errors_keep_the_input(site: Site, pages: Pages) -> None:
    pages.allowed |= {422}
    page = await pages.open(f"{site.console}/playground")
    await drop(page, b"no image" * 20)
    await expect(page.locator("#result .problem")).to_contain_text("not an image")
    await drop(page, image_bytes(100, 80))
    await draw(page, (0, 0), (0.5, 0.5))
    await page.fill("#builder [name=step-0-box]", "1, 2, x, 4")
    await page.click("#preview")
    await expect(page.locator("#builder [aria-invalid]")).to_have_value("1, 2, x, 4")
    await page.fill("#builder [name=step-0-box]", "0, 0, 50, 40")
    await page.click("#preview")
    await expect(page.locator("#result figcaption")).to_contain_text("50 × 40")
    await expect(page.locator("#builder [aria-invalid]")).to_have_count(0)


async def test_a_failure_is_retried_and_followed_to_its_end(site: Site, pages: Pages) -> None:
    page = await pages.open(f"{site.console}/failures?kind=asset_missing")
    await page.click("#list a:has-text('stamped/poster.jpg')")
    await expect(page.locator(".problem")).to_contain_text("logo.png")
    assets = site.stack.services.account.container(site.stack.services.settings.asset_container)
    await assets.get_blob_client("logo.png").upload_blob(image_bytes(20, 20, "PNG"), overwrite=True)
    await page.click("button:has-text('Retry')")
    await expect(page.locator("#notice")).to_have_text("Queued for a retry.")
    await expect(page.locator("#live .state").first).to_have_text("done", timeout=60_000)
    await expect(page.locator(".compare .after")).to_be_visible()


async def test_a_run_is_planned_started_cancelled_and_resumed(site: Site, pages: Pages, axe: str) -> None:
    page = await pages.open()
    await page.context.add_init_script(axe)
    await page.goto(f"{site.console}/runs/plan")
    await page.fill("[name=prefix]", "photos/")
    await page.check("[name=reason-done]")
    await page.check("[name=recipe-web]")
    await page.click("button:has-text('Plan')")
    await expect(page.locator("h1")).to_contain_text("jobs planned")
    await check_accessible(page, "the plan")
    planned = int((await page.locator("h1").inner_text()).split()[0])
    assert planned >= 2
    scheduler = site.stack.services.scheduler
    # The test holds both slots, so that no job of the run ends before the cancellation.
    async with scheduler.acquire_slot(None), scheduler.acquire_slot(None):
        await page.click("button:has-text('Start')")
        await expect(page.locator("#live .state")).to_have_text("working")
        await check_accessible(page, "the run")
        await page.click("button:has-text('Cancel')")
        await expect(page.locator("#live .state")).to_have_text("cancelled")
        await expect(page.locator("#live")).not_to_have_attribute("data-live", "2")
        await page.click("button:has-text('Resume')")
        await expect(page.locator("#live .state")).to_have_text("working")
    await expect(page.locator("#live .state")).to_have_text("done", timeout=90_000)
    await expect(page.locator(".key li").first).to_have_text(f"done {planned}")
    await page.click("a:has-text('View jobs')")
    await expect(page.locator("#list tbody tr")).to_have_count(planned)


async def test_the_pool_page_shows_and_recycles_slots_of_others(
    site: Site, pages: Pages, axe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "PUBLISH_INTERVAL_SECONDS", 0.2)
    services = site.stack.services
    source = "photos/<img src=x onerror=alert(1)>\u202e.jpg"
    label = JobLabel("web", services.settings.input_container, source)
    page = await pages.open()
    await page.context.add_init_script(axe)
    async with services.scheduler.acquire_slot(None, job_label=label) as session:
        row = slot_row(page, session.name)

        async def is_listed() -> bool:
            await page.goto(f"{site.console}/pool")
            return await row.locator("a").count() == 1

        await eventually(is_listed, timeout=60, every=0.3)
        await expect(row).to_contain_text("web · photos/<img src=x onerror=alert(1)>‹U+202E›.jpg")
        await expect(row).to_contain_text("the session ends after these jobs")
        id_of_label = JobKey.of("web", services.settings.input_container, source).id
        await expect(row.locator("a")).to_have_attribute("href", f"/api/console/jobs/{id_of_label}")
        await check_accessible(page, "the pool at work")
    async with services.scheduler.acquire_slot() as session:
        number, generation = map(int, session.name.split("."))
        row = slot_row(page, session.name)

        async def can_be_recycled() -> bool:
            await page.goto(f"{site.console}/pool")
            return await row.locator("td").last.inner_text() == "Recycle"

        await eventually(can_be_recycled, timeout=60, every=0.3)
        await row.locator("text=Recycle").click()
        await expect(page.locator("#notice")).to_contain_text("Recycling requested.")

        async def drains() -> bool:
            await page.goto(f"{site.console}/pool")
            return "the session ends after these jobs" in await row.inner_text()

        await eventually(drains, timeout=60, every=0.3)

    async def is_renewed() -> bool:
        return (await services.pool_monitor.overview()).slots[number].generation == generation + 1

    await eventually(is_renewed)


async def test_an_invalid_plan_keeps_the_input(site: Site, pages: Pages) -> None:
    pages.allowed |= {422}
    page = await pages.open(f"{site.console}/runs/plan")
    await page.fill("[name=prefix]", "photos/2026/")
    await page.fill("[name=newer]", "soon")
    await page.click("button:has-text('Plan')")
    await expect(page.locator("#problem")).to_contain_text("'soon' is not a number")
    await expect(page.locator("[name=prefix]")).to_have_value("photos/2026/")


async def test_failures_of_a_kind_are_dismissed_together(site: Site, pages: Pages) -> None:
    names = ("photos/empty-1.jpg", "photos/empty-2.jpg")
    for name in names:
        await site.stack.upload(name, b"")

    async def have_failed() -> bool:
        entries = [await site.stack.entry("web", name) for name in names]
        return all(entry is not None and entry.state == "failed" for entry in entries)

    await eventually(have_failed, timeout=60, every=0.1)
    page = await pages.open()
    card = page.locator(".card:has(code:text-is('empty_source'))").first

    async def is_counted() -> bool:
        await page.goto(f"{site.console}/failures")
        return await card.is_visible() and "2 files are empty" in await card.inner_text()

    await eventually(is_counted, timeout=60, every=0.5)
    page.remove_listener("dialog", pages.record_dialog)
    page.once("dialog", lambda dialog: dialog.accept())
    await card.locator("button:has-text('Dismiss all')").click()
    await expect(page.locator("#notice")).to_have_text("Dismissed. (2)")
    await expect(card).to_have_count(0)
    entry = await site.stack.entry("web", names[0])
    assert entry
    assert entry.state == "dismissed"


async def test_figures_refresh_only_while_the_page_is_visible(site: Site, pages: Pages) -> None:
    page = await pages.open()
    await page.clock.install()
    await page.goto(site.console)
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url) if request.resource_type == "fetch" else None)
    await page.clock.run_for(1000)
    assert urls == []
    for _ in range(3):
        async with page.expect_response(site.console):
            await page.clock.run_for(5000)
    assert urls == [site.console] * 3
    await page.evaluate(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    await page.clock.run_for(60_000)
    assert len(urls) == 3


async def test_an_unreachable_console_keeps_the_input(site: Site, pages: Pages) -> None:
    before = await site.stack.entry("web", "photos/harbour.jpg")
    assert before
    page = await pages.open(f"{site.console}/jobs/{job_id(site, 'photos/harbour.jpg')}")
    page.on("requestfailed", lambda _: pages.problems.clear())
    await page.route("**/retry", lambda route: route.abort())
    await page.click("button:has-text('Re-run')")
    await expect(page.locator("#notice")).to_contain_text("Nothing was changed")
    pages.problems.clear()
    await page.unroute("**/retry")
    await page.evaluate("for (const each of document.querySelectorAll('[name=csrf_token]')) each.value = 'stale'")
    pages.allowed |= {403}
    await page.click("button:has-text('Re-run')")
    await expect(page.locator("#notice")).to_contain_text("out of date")
    await page.click("button:has-text('Re-run')")
    await expect(page.locator("#notice")).to_have_text("Queued for a retry.")

    async def is_done_again() -> bool:
        entry = await site.stack.entry("web", "photos/harbour.jpg")
        return entry is not None and entry.generation > before.generation and entry.state == "done"

    await eventually(is_done_again, timeout=60, every=0.2)  # other tests expect this job in the state done


async def test_pages_and_forms_work_without_scripts(site: Site, pages: Pages) -> None:
    page = await pages.open(page_url(site, "/jobs/{done}"), java_script_enabled=False)
    await expect(page.locator(".compare img").first).to_be_visible()
    await page.goto(f"{site.console}/playground?source=photos/harbour.jpg")
    await page.select_option("[name=transform]", "flip")
    await page.click("button[value=add]")
    await expect(page.locator("fieldset[data-step=flip]")).to_be_visible()
    await page.click("#preview")
    await expect(page.locator("#result figcaption")).to_contain_text("900 × 600 · webp")


async def test_a_broken_image_becomes_a_placeholder(site: Site, pages: Pages) -> None:
    page = await pages.open()
    await page.route("**/images/**", lambda route: route.fulfill(body=b"\x89PNG\r\n\x1a\n", content_type="image/png"))
    await page.goto(page_url(site, "/jobs/{done}"))
    for image in await page.locator("img:not(.brand img)").all():
        await image.scroll_into_view_if_needed()
        await expect(image).to_have_attribute("src", re.compile("^data:image/svg.*cannot%20be%20displayed"))
    await page.goto(f"{site.console}/playground?source=photos/harbour.jpg")
    await expect(page.locator("#before")).to_have_attribute("src", re.compile("^data:image/svg"))
    await expect(page.locator("#readout")).to_have_text("")


async def test_the_slider_works_with_the_keyboard(site: Site, pages: Pages) -> None:
    page = await pages.open(page_url(site, "/jobs/{done}"))
    await page.focus(".compare input")
    await page.keyboard.press("Home")
    await page.keyboard.press("ArrowRight")
    assert await page.locator(".compare").evaluate("(part) => part.style.getPropertyValue('--at')") == "1%"


async def test_times_are_in_the_viewers_time_zone(site: Site, pages: Pages) -> None:
    page = await pages.open(page_url(site, "/jobs/{done}"), timezone_id="Pacific/Auckland", locale="en-GB")
    entry = await site.stack.entry("web", "photos/harbour.jpg")
    assert entry
    shown = page.locator("dl.facts time")
    utc = entry.since.strftime("%H:%M:%S")
    assert utc not in await shown.inner_text()
    assert await shown.get_attribute("datetime") == entry.since.strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_the_host_handles_methods_and_host_names(site: Site) -> None:
    async with httpx.AsyncClient() as client:
        for url in (f"{site.url}/api/version", site.console, f"{site.console}/static/mark.svg"):
            head, full = await client.head(url), await client.get(url)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-type"] == full.headers["content-type"]
        for path, allowed in (("/jobs", "GET, HEAD"), ("/runs/plan", "GET, HEAD, POST"), ("/failures/retry", "POST")):
            response = await client.put(site.console + path)
            assert (response.status_code, response.headers["allow"]) == (405, allowed)
        assert (await client.delete(f"{site.url}/api/version")).headers["allow"] == "GET, HEAD"
        assert (await client.get(site.console, headers={"Host": "evil.example"})).status_code == 403


def slot_row(page: Page, session: str) -> Locator:
    """Return the table row of the slot of a session, such as `000.1`."""
    return page.locator(f"tbody tr:has(td:first-child:text-is('{int(session.split('.')[0])}'))")


async def check_accessible(page: Page, name: str, rules: list[str] | None = None) -> None:
    """Assert that the accessibility checker finds nothing serious, by these rules or by all."""
    options = {"resultTypes": ["violations"], "preload": False}
    options |= {"runOnly": {"type": "rule", "values": rules}} if rules else {}
    result = await page.evaluate("(options) => axe.run(document, options)", options)
    serious = [each for each in result["violations"] if each["impact"] in ("serious", "critical")]
    assert not serious, f"{name}: {json.dumps([[each['id'], each['nodes'][0]['html']] for each in serious])}"


async def drop(page: Page, data: bytes, name: str = "dropped.png") -> None:
    """Drop a file on the page."""
    transfer = await page.evaluate_handle(
        "([text, name]) => { const transfer = new DataTransfer();"
        " const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));"
        " transfer.items.add(new File([bytes], name, {type: 'image/png'})); return transfer; }",
        [base64.b64encode(data).decode(), name],
    )
    await page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})


async def draw(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag over the image, between two points of it as fractions."""
    image = page.locator("#before")
    await expect(image).to_be_visible()
    await image.scroll_into_view_if_needed()
    area = await image.bounding_box()
    assert area
    points = [(area["x"] + area["width"] * x, area["y"] + area["height"] * y) for x, y in (start, end)]
    await page.mouse.move(*points[0])
    await page.mouse.down()
    await page.mouse.move(*points[1], steps=3)
    await page.mouse.up()
