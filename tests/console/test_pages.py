"""Every page in a real browser, on a real host: it works, is accessible, and nothing in it does what it should not."""

from __future__ import annotations

import json
import re

import httpx
import pytest
from playwright.async_api import Page, expect

from pipeline.api import pool
from pipeline.api.links import Links
from pipeline.console import templates
from pipeline.pool import status
from pipeline.pool.requests import JobLabel
from pipeline.recipes import loads
from pipeline.storage.keys import JobKey, source_of
from tests.console.conftest import Site, Visits
from tests.console.pictures import HOSTILE
from tests.images import picture
from tests.waiting import eventually

# The first of them pays for the host, the jobs and the browser of all.
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]
LONGEST_PAGE = 100_000
NARROW = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark", "is_mobile": True, "has_touch": True}
WIDE = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"}


# Half the width and a quarter of the height of 400 × 300; a hand is not more exact than a screen's pixels.
QUARTER = re.compile(r"(19[89]|20[0-2]) × 7[4-6]")


SHAPES = [(1512, 2016), (512, 512), (2500, 1000)]
"""Width and height of a portrait, a square and a panorama. Each is larger than its place in the playground."""


def job(site: Site, name: str, recipe: str = "web") -> str:
    return JobKey.of(recipe, site.stack.services.settings.input_container, name).id


def address(site: Site, page: str) -> str:
    """The address of a page; `{done}` and `{failed}` in it are jobs."""
    done, failed = job(site, "photos/harbour.jpg"), job(site, "photos/broken.jpg")
    return site.console + page.format(done=done, failed=failed)


PAGES = (
    "",
    "?hours=24",
    "/jobs",
    "/jobs?name=photos/&recipe=web&state=done",
    "/jobs?name=nothing-like-that",
    "/jobs/{done}",
    "/jobs/{failed}",
    "/failures",
    "/failures?kind=not_an_image",
    "/runs",
    "/runs/plan?recipe=web",
    "/recipes",
    "/recipes/web",
    "/playground",
    "/playground?recipe=web&source=photos/harbour.jpg",
    "/pool",
)


@pytest.mark.parametrize(("look", "rules"), [(WIDE, []), (NARROW, ["color-contrast"])], ids=["wide", "narrow"])
async def test_every_page_is_sound_accessible_and_fits(
    site: Site, visits: Visits, axe: str, look: dict[str, object], rules: list[str]
) -> None:
    """What a page is made of is the same on a narrow screen; the colours of the dark are others."""
    page = await visits.page(**look)
    await page.context.add_init_script(axe)
    for each in PAGES:
        answer = await page.goto(address(site, each))
        assert answer
        assert (answer.status, each) == (200, each)
        assert len(await answer.body()) < LONGEST_PAGE, each
        assert "script-src 'self'" in (await answer.all_headers())["content-security-policy"]
        await expect(page.locator("h1")).to_have_count(1)
        assert not re.search(r"<script(?! src=)|<style| style=| on[a-z]+=\"", await answer.text()), each
        wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{each} is {wide} pixels too wide"
        await check_accessible(page, each, rules)


async def test_names_that_nobody_would_choose_are_shown_and_do_nothing(site: Site, visits: Visits) -> None:
    page = await visits.page(f"{site.console}/jobs?name=photos/")
    listed = await page.locator("#list").inner_text()
    for name, shown in HOSTILE.items():
        assert shown in listed
        await page.goto(f"{site.console}/jobs/{job(site, name)}")
        await expect(page.locator("h1")).to_contain_text(shown)
        await expect(page.locator("img[onerror]")).to_have_count(0)
        await expect(page.locator(".compare img").first).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


async def test_a_picture_that_is_dropped_is_transformed_in_a_session_and_the_yaml_does_the_same(
    site: Site, visits: Visits
) -> None:
    page = await visits.page(f"{site.console}/playground")
    await drop(page, picture(400, 300, "PNG"))
    await expect(page.locator("#result figcaption")).to_contain_text("400 × 300 · webp")
    await draw(page, (0.25, 0.25), (0.75, 0.5))
    await expect(page.locator("#result figcaption")).to_contain_text(QUARTER)
    await page.select_option("#builder [name=transform]", "grayscale")
    await page.click("#builder button[value=add]")
    await page.select_option("#builder [name=format]", "png")
    await expect(page.locator("#result figcaption")).to_contain_text(re.compile(QUARTER.pattern + " · png"))
    recipe = loads(await page.locator("#yaml").inner_text()).get("my-recipe")
    assert [step["name"] for step in recipe.steps] == ["crop", "grayscale"]
    box = [float(each.removesuffix("%")) for each in recipe.steps[0]["params"]["box"]]
    assert box == pytest.approx([25, 25, 75, 50], abs=0.6)
    natural = await page.locator("#result img").evaluate("(image) => `${image.naturalWidth} × ${image.naturalHeight}`")
    assert natural in await page.locator("#result figcaption").inner_text()


@pytest.mark.parametrize(("width", "height"), [(1360, 850), (390, 844)], ids=["wide", "narrow"])
async def test_the_playground_draws_results_undistorted(site: Site, visits: Visits, width: int, height: int) -> None:
    page = await visits.page(f"{site.console}/playground", viewport={"width": width, "height": height})
    for across, down in SHAPES:
        await drop(page, picture(across, down))
        await expect(page.locator("#result figcaption")).to_contain_text(f"{across} × {down}")
        result, pane = page.locator("#result .pane img"), await page.locator("#result .pane").bounding_box()
        await expect(result).to_have_js_property("complete", value=True)
        assert await result.evaluate("(image) => [image.naturalWidth, image.naturalHeight]") == [across, down]
        drawn = await result.bounding_box()
        assert drawn
        assert pane
        assert drawn["width"] / drawn["height"] == pytest.approx(across / down, rel=0.01)
        assert drawn["width"] <= pane["width"]
        assert drawn["height"] <= min(pane["height"], 0.52 * height + 1)


async def test_a_focal_point_that_is_clicked_moves_a_crop(site: Site, visits: Visits) -> None:
    page = await visits.page(f"{site.console}/playground?recipe=web&source=photos/harbour.jpg")
    await expect(page.locator("#result img")).to_have_count(2)
    before = await page.locator("#result img").first.get_attribute("src")
    await page.click("#builder button[value=open]")
    await page.fill("#builder [name=step-0-aspect]", "1:3")
    await page.click("#stage label:has-text('Focal point')")
    await draw(page, (0.9, 0.5), (0.9, 0.5))
    await expect(page.locator("#where")).to_contain_text("focal point 90%, 50%")
    await expect(page.locator("#result img")).to_have_count(1)
    assert await page.locator("#result img").get_attribute("src") != before


async def test_what_is_wrong_in_the_playground_is_said_at_its_field_and_nothing_is_lost(
    site: Site, visits: Visits
) -> None:
    visits.allowed |= {422}
    page = await visits.page(f"{site.console}/playground")
    await drop(page, b"no image" * 20)
    await expect(page.locator("#result .problem")).to_contain_text("not an image")
    await drop(page, picture(100, 80))
    await draw(page, (0, 0), (0.5, 0.5))
    await page.fill("#builder [name=step-0-box]", "1, 2, x, 4")
    await page.click("#run")
    await expect(page.locator("#builder [aria-invalid]")).to_have_value("1, 2, x, 4")
    await page.fill("#builder [name=step-0-box]", "0, 0, 50, 40")
    await page.click("#run")
    await expect(page.locator("#result figcaption")).to_contain_text("50 × 40")
    await expect(page.locator("#builder [aria-invalid]")).to_have_count(0)


async def test_a_failure_is_retried_and_the_page_follows_it_to_its_end(site: Site, visits: Visits) -> None:
    page = await visits.page(f"{site.console}/failures?kind=asset_missing")
    await page.click("#list a:has-text('stamped/poster.jpg')")
    await expect(page.locator(".problem")).to_contain_text("logo.png")
    assets = site.stack.services.account.container(site.stack.services.settings.asset_container)
    await assets.get_blob_client("logo.png").upload_blob(picture(20, 20, "PNG"), overwrite=True)
    await page.click("button:has-text('Retry')")
    await expect(page.locator("#notice")).to_have_text("Queued once more.")
    await expect(page.locator("#live .state").first).to_have_text("done", timeout=60_000)
    await expect(page.locator(".compare .after")).to_be_visible()


async def test_a_run_is_planned_started_cancelled_and_resumed(site: Site, visits: Visits, axe: str) -> None:
    page = await visits.page()
    await page.context.add_init_script(axe)
    await page.goto(f"{site.console}/runs/plan")
    await page.fill("[name=prefix]", "photos/")
    await page.check("[name=reason-done]")
    await page.check("[name=recipe-web]")
    await page.click("button:has-text('Plan')")
    await expect(page.locator("h1")).to_contain_text("jobs to do")
    await check_accessible(page, "the plan")
    planned = int((await page.locator("h1").inner_text()).split()[0])
    assert planned >= 2
    seats = site.stack.services.scheduler
    async with (
        seats.acquire_slot(None),
        seats.acquire_slot(None),
    ):  # nobody else finds a session, so that nothing ends meanwhile
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
    await page.click("a:has-text('Its jobs')")
    await expect(page.locator("#list tbody tr")).to_have_count(planned)


async def test_the_pool_shows_what_another_process_does_and_asks_it_to_end_its_session(
    site: Site, visits: Visits, axe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "PUBLISH_INTERVAL_SECONDS", 0.2)
    services = site.stack.services
    source = "photos/<img src=x onerror=alert(1)>\u202e.jpg"
    doing = JobLabel("web", services.settings.input_container, source)
    page = await visits.page()
    await page.context.add_init_script(axe)
    async with services.scheduler.acquire_slot(None, job_label=doing) as session:
        number = session.name.split(".")[0]
        row = page.locator(f"tbody tr:has(td:first-child:text-is('{int(number)}'))")

        async def shown() -> bool:
            await page.goto(f"{site.console}/pool")
            return await row.locator("a").count() == 1

        await eventually(shown, timeout=60, every=0.3)
        await expect(row).to_contain_text("web · photos/<img src=x onerror=alert(1)>‹U+202E›.jpg")
        await expect(row).to_contain_text("then the session ends")
        job_id = JobKey.of("web", services.settings.input_container, source).id
        await expect(row.locator("a")).to_have_attribute("href", f"/api/console/jobs/{job_id}")
        await check_accessible(page, "the pool at work")
    async with services.scheduler.acquire_slot() as session:
        number, generation = session.name.split(".")
        row = page.locator(f"tbody tr:has(td:first-child:text-is('{int(number)}'))")

        async def named() -> bool:
            await page.goto(f"{site.console}/pool")
            return await row.locator("td").last.inner_text() == "Recycle"

        await eventually(named, timeout=60, every=0.3)
        await row.locator("text=Recycle").click()
        await expect(page.locator("#notice")).to_have_text(re.compile("is asked to end it"))

        async def drains() -> bool:
            await page.goto(f"{site.console}/pool")
            return "then the session ends" in await row.inner_text()

        await eventually(drains, timeout=60, every=0.3)

    async def renewed() -> bool:
        return (await pool.overview(services, Links())).slots[int(number)].generation == int(generation) + 1

    await eventually(renewed)


async def test_what_sessions_cost_is_told_with_what_it_counts(site: Site, visits: Visits) -> None:
    for path in ("", "/pool"):
        page = await visits.page(site.console + path)
        figure = page.locator(".figures div:has(dt:has-text('cost today'))")
        await expect(figure).to_have_text(re.compile(r"\$0\.\d+at least: \d+ session-hours? begun; this month \$"))
        await expect(page.locator("main")).to_contain_text("Storage and function instances are not in it")


async def test_a_session_is_ended_from_the_pool(site: Site, visits: Visits) -> None:
    page = await visits.page(f"{site.console}/pool")
    await page.click("tbody tr >> text=Recycle >> nth=0")
    await expect(page.locator("#notice")).to_have_text(re.compile("The (session (is ended|ends as soon as)|instance)"))
    await expect(page.locator("h1")).to_have_text("Pool")


async def test_a_plan_that_cannot_be_made_keeps_what_was_typed(site: Site, visits: Visits) -> None:
    visits.allowed |= {422}
    page = await visits.page(f"{site.console}/runs/plan")
    await page.fill("[name=prefix]", "photos/2026/")
    await page.fill("[name=newer]", "soon")
    await page.click("button:has-text('Plan')")
    await expect(page.locator("#problem")).to_contain_text("'soon' is not a number")
    await expect(page.locator("[name=prefix]")).to_have_value("photos/2026/")


async def test_failures_of_a_kind_are_dismissed_together(site: Site, visits: Visits) -> None:
    await site.stack.drop("photos/empty-1.jpg", b"")
    await site.stack.drop("photos/empty-2.jpg", b"")
    page = await visits.page()
    card = page.locator(".card:has(code:text-is('empty_source'))").first

    async def both_failed() -> bool:
        await page.goto(f"{site.console}/failures")
        return await card.is_visible() and "2 ×" in await card.inner_text()

    await eventually(both_failed, timeout=60, every=0.5)
    page.remove_listener("dialog", visits._surprised)
    page.once("dialog", lambda dialog: dialog.accept())
    await card.locator("button:has-text('Dismiss all')").click()
    await expect(page.locator("#notice")).to_have_text("Dismissed. (2)")
    await expect(card).to_have_count(0)
    entry = await site.stack.entry("web", "photos/empty-1.jpg")
    assert entry
    assert entry.state == "dismissed"


async def test_figures_refresh_themselves_slowly_and_only_while_somebody_looks(site: Site, visits: Visits) -> None:
    page = await visits.page()
    await page.clock.install()
    await page.goto(site.console)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.resource_type == "fetch" else None)
    await page.clock.run_for(1000)
    assert asked == []
    for _ in range(3):
        async with page.expect_response(site.console):
            await page.clock.run_for(5000)
    assert asked == [site.console] * 3
    await page.evaluate(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    await page.clock.run_for(60_000)
    assert len(asked) == 3


async def test_a_console_that_does_not_answer_says_so_and_loses_nothing(site: Site, visits: Visits) -> None:
    before = await site.stack.entry("web", "photos/harbour.jpg")
    assert before
    page = await visits.page(f"{site.console}/jobs/{job(site, 'photos/harbour.jpg')}")
    page.on("requestfailed", lambda _: visits.complaints.clear())
    await page.route("**/retry", lambda route: route.abort())
    await page.click("button:has-text('Do it again')")
    await expect(page.locator("#notice")).to_contain_text("Nothing was changed")
    visits.complaints.clear()
    await page.unroute("**/retry")
    await page.evaluate("for (const each of document.querySelectorAll('[name=token]')) each.value = 'stale'")
    visits.allowed |= {403}
    await page.click("button:has-text('Do it again')")
    await expect(page.locator("#notice")).to_contain_text("out of date")
    await page.click("button:has-text('Do it again')")
    await expect(page.locator("#notice")).to_have_text("Queued once more.")

    async def done_again() -> bool:
        entry = await site.stack.entry("web", "photos/harbour.jpg")
        return entry is not None and entry.generation > before.generation and entry.state == "done"

    await eventually(done_again, timeout=60, every=0.2)  # other tests look at this job as one that is done


async def test_two_who_retry_the_same_job_are_told(site: Site, visits: Visits) -> None:
    visits.allowed |= {409}
    site_address = f"{site.console}/jobs/{job(site, 'photos/cut.jpg')}"
    one, other = await visits.page(site_address), await visits.page(site_address)
    await one.click("button:has-text('Dismiss')")
    await expect(one.locator("#notice")).to_have_text("Dismissed.")
    await other.click("button:has-text('Dismiss')")
    await expect(other.locator("#notice")).to_have_text("Dismissed.")


async def test_without_scripts_pages_show_everything_and_forms_work(site: Site, visits: Visits) -> None:
    page = await visits.page(address(site, "/jobs/{done}"), java_script_enabled=False)
    await expect(page.locator(".compare img").first).to_be_visible()
    await page.goto(f"{site.console}/playground?source=photos/harbour.jpg")
    await page.select_option("[name=transform]", "flip")
    await page.click("button[value=add]")
    await expect(page.locator("fieldset[data-step=flip]")).to_be_visible()
    await page.click("#run")
    await expect(page.locator("#result figcaption")).to_contain_text("900 × 600 · webp")


async def test_a_picture_that_the_browser_cannot_show_becomes_a_sign(site: Site, visits: Visits) -> None:
    page = await visits.page()
    await page.route("**/pictures/**", lambda route: route.fulfill(body=b"\x89PNG\r\n\x1a\n", content_type="image/png"))
    await page.goto(address(site, "/jobs/{done}"))
    for image in await page.locator("img:not(.brand img)").all():
        await image.scroll_into_view_if_needed()
        await expect(image).to_have_attribute("src", re.compile("^data:image/svg.*cannot%20be%20shown"))
    await page.goto(f"{site.console}/playground?source=photos/harbour.jpg")
    await expect(page.locator("#before")).to_have_attribute("src", re.compile("^data:image/svg"))
    await expect(page.locator("#where")).to_have_text("")


async def test_pictures_are_kept_as_long_as_their_address_names_what_they_show(site: Site) -> None:
    entry = await site.stack.entry("web", "photos/beach.png")
    assert entry
    addresses = {
        templates.source_picture(entry.key.id, entry.version.etag): f"{entry.key.id}/source",
        templates.rendition_picture(entry.key.id, entry.renditions[0]): f"rendition/{entry.renditions[0]['name']}",
    }
    async with httpx.AsyncClient(base_url=site.url) as client:
        shown = (await client.get(f"/api/console/jobs/{entry.key.id}")).text
        for named, part in addresses.items():
            assert part in named
            assert f'src="{named}"' in shown
            answer = await client.get(named)
            assert answer.headers["cache-control"] == "private, max-age=86400"
            for other in (named.partition("?")[0], named[:-1] + "x"):
                answer = await client.get(other)
                assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")


async def listed(site: Site, **query: str) -> list[str]:
    """The names of the jobs on a page, as its links have them."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{site.console}/jobs", params=query)
        assert answer.status_code == 200
    found = [
        JobKey.parse(each) for each in re.findall(r'class="what"><a href="/api/console/jobs/([^"]+)"', answer.text)
    ]
    return [name for source in map(source_of, found) if source for name in source[1:]]


async def test_every_filter_of_the_jobs_counts_also_with_others(site: Site) -> None:
    settings = site.stack.services.settings
    harbour, beach = [await site.stack.entry("web", name) for name in ("photos/harbour.jpg", "photos/beach.png")]
    assert harbour
    assert beach
    every = await listed(site)
    assert {harbour.name, beach.name} <= set(every)
    assert set(await listed(site, **{"in": settings.input_container})) == set(every)
    assert await listed(site, **{"in": settings.upload_container}) == []
    first, last = sorted((harbour, beach), key=lambda entry: entry.since)
    before = last.since.isoformat().replace("+00:00", "")
    for name in ("", "photos/"):
        found = await listed(site, name=name, before=before)
        assert first.name in found
        assert last.name not in found


async def test_the_slider_works_with_the_keyboard(site: Site, visits: Visits) -> None:
    page = await visits.page(address(site, "/jobs/{done}"))
    await page.focus(".compare input")
    await page.keyboard.press("Home")
    await page.keyboard.press("ArrowRight")
    assert await page.locator(".compare").evaluate("(part) => part.style.getPropertyValue('--at')") == "1%"


async def test_times_are_in_the_viewers_zone(site: Site, visits: Visits) -> None:
    page = await visits.page(address(site, "/jobs/{done}"), timezone_id="Pacific/Auckland", locale="en-GB")
    entry = await site.stack.entry("web", "photos/harbour.jpg")
    assert entry
    shown = page.locator("dl.facts time")
    utc = entry.since.strftime("%H:%M:%S")
    assert utc not in await shown.inner_text()
    assert await shown.get_attribute("datetime") == entry.since.strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_pictures_are_no_pages_and_what_is_no_picture_is_a_drawing(site: Site) -> None:
    async with httpx.AsyncClient(base_url=site.console) as client:
        source = await client.get(f"{site.console}/pictures/{job(site, 'photos/harbour.jpg')}/source")
        assert (source.headers["content-type"], source.headers["x-content-type-options"]) == ("image/jpeg", "nosniff")
        assert "sandbox" in source.headers["content-security-policy"]
        broken = await client.get(f"{site.console}/pictures/{job(site, 'photos/broken.jpg')}/source")
        assert (broken.status_code, broken.headers["content-type"]) == (200, "image/svg+xml")
        for name in (
            "../../secret",
            "slots/000.json",
            "photos/none.jpg",
            site.stack.services.settings.state_container + "/slots/000.json",
        ):
            drawn = await client.get(f"{site.console}/pictures/blob", params={"source": name})
            assert drawn.headers["content-type"] == "image/svg+xml"
            assert b"identifier" not in drawn.content


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/jobs/nonsense", 404),
        ("/jobs/web.QUFB", 404),
        ("/jobs?state=odd", 400),
        ("/jobs?before=yesterday", 400),
        ("/jobs?in=pipeline&name=x", 400),
        ("/jobs?from=e30x", 400),
        ("/recipes/none", 404),
        ("/recipes/stamped", 200),
        ("/runs?from=zzz", 400),
        ("/static/none.js", 404),
        ("/static/" + "9" * 400 + ".css", 404),
        ("?told=retried&n=" + "9" * 400, 200),
        ("/nothing?told=retried&n=" + "9" * 5000, 404),
        ("/static/..%2froutes.py", 404),
    ],
)
async def test_an_odd_address_gets_a_page_that_says_what_is_wrong_with_it(site: Site, path: str, status: int) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(site.console + path)
        assert answer.status_code == status
        assert "Traceback" not in answer.text


async def test_heads_are_answered_and_other_methods_refused_by_name(site: Site) -> None:
    async with httpx.AsyncClient() as client:
        for url in (f"{site.url}/api/version", site.console, f"{site.console}/static/mark.svg"):
            head, whole = await client.head(url), await client.get(url)
            assert (head.status_code, head.content, head.headers["content-type"]) == (
                200, b"", whole.headers["content-type"],
            )  # fmt: skip
        for path, allowed in (("/jobs", "GET, HEAD"), ("/runs/plan", "GET, HEAD, POST"), ("/failures/retry", "POST")):
            answer = await client.put(site.console + path)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert (await client.delete(f"{site.url}/api/version")).headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"newer": "1e308"}, "Written within hours: &#39;1e308&#39; is not a number from 0 on"),
        ({"newer": "inf"}, "Written within hours: &#39;inf&#39; is not a number from 0 on"),
        ({"newer": "999999999999"}, "Written within hours: 999999999999 is more than 2,777,778"),
        ({"newer": "0"}, "Written within hours: Input should be greater than 0"),
        ({"older": "-5"}, "Older than hours: &#39;-5&#39; is not a number from 0 on"),
        ({"sample": "1,5"}, "Only a sample of jobs: "),
        ({"prefix": "a\x01b"}, "Names that start with: it holds characters that no name has"),
    ],
)
async def test_a_plan_that_nobody_could_look_at_is_not_made(site: Site, typed: dict[str, str], said: str) -> None:
    async with httpx.AsyncClient(headers={"Sec-Fetch-Site": "same-origin"}, timeout=60) as client:
        page = (await client.get(f"{site.console}/runs/plan")).text
        token = page.partition('name="token" value="')[2].partition('"')[0]
        answer = await client.post(f"{site.console}/runs/plan", data={"token": token, "reason-new": "on", **typed})
        assert (answer.status_code, said in answer.text) == (422, True)


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_a_form_from_elsewhere_changes_nothing(site: Site, headers: dict[str, str]) -> None:
    async with httpx.AsyncClient() as client:
        shown = await client.get(address(site, "/jobs/{done}"))
        token = shown.text.partition('name="token" value="')[2].partition('"')[0]
        assert token
        answer = await client.post(address(site, "/jobs/{done}/retry"), data={"token": token}, headers=headers)
        assert answer.status_code == 403
        assert (await client.get(site.console, headers={"Host": "evil.example"})).status_code == 403


async def check_accessible(page: Page, what: str, rules: list[str] | None = None) -> None:
    """No serious finding of the accessibility checker, by all of its rules or by some."""
    options = {"resultTypes": ["violations"], **({"runOnly": {"type": "rule", "values": rules}} if rules else {})}
    found = await page.evaluate("(options) => axe.run(document, options)", options)
    serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    assert not serious, f"{what}: {json.dumps([[one['id'], one['nodes'][0]['html']] for one in serious])}"


async def drop(page: Page, data: bytes, name: str = "dropped.png") -> None:
    """Let a file fall onto the page."""
    held = await page.evaluate_handle(
        "([bytes, name]) => { const held = new DataTransfer();"
        " held.items.add(new File([Uint8Array.from(bytes)], name, {type: 'image/png'})); return held; }",
        [list(data), name],
    )
    await page.dispatch_event("#drop", "drop", {"dataTransfer": held})


async def draw(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag over the picture, between two points of it as fractions."""
    picture = page.locator("#before")
    await expect(picture).to_be_visible()
    await picture.scroll_into_view_if_needed()
    area = await picture.bounding_box()
    assert area
    # Whole pixels of the picture's own size, so that what is read off it is exact.
    at = [(area["x"] + area["width"] * x, area["y"] + area["height"] * y) for x, y in (start, end)]
    await page.mouse.move(*at[0])
    await page.mouse.down()
    await page.mouse.move(*at[1], steps=3)
    await page.mouse.up()
