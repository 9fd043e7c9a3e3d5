"""The playground: a picture, a recipe or a draft of one, and what a real session makes of it. Keeps nothing."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import azure.functions as func

from pipeline.errors import ConfigError, JobOvertaken, PermanentError, PoolFull, TransientError
from pipeline.preview import Picture, Shown, preview
from pipeline.recipes import Recipe, focal_point
from pipeline.services import Services
from pipeline.sessions.report import SessionReport
from pipeline.settings import MIB
from pipeline.storage.assets import Asset
from pipeline.transforms.formats import FORMATS
from pipeline.web.console import fields
from pipeline.web.console.draft import Complaint, Draft, DraftProblems
from pipeline.web.console.visit import Visit
from pipeline.web.problems import BadRequest

LARGEST = 32 * MIB
"""The largest picture that can be dropped, and the most that renditions may have together, in bytes."""
AT_ONCE = 2
PATIENCE = 60.0
_turns = asyncio.Semaphore(AT_ONCE)


@dataclass(frozen=True)
class Result:
    """What came out: the renditions with their bytes as addresses, and how long it took in seconds."""

    source_size: int
    shown: list[tuple[Shown, str]]
    report: SessionReport
    seconds: float


@dataclass
class Desk:
    """The state of the page, all of it in its form."""

    how: str = "build"
    recipe: str = ""
    draft: Draft = field(default_factory=Draft)
    source: str = ""
    focal: str = ""
    complaints: list[Complaint] = field(default_factory=list)
    result: Result | None = None

    @classmethod
    def of_form(cls, form: dict[str, str]) -> Desk:
        """Read the form. BadRequest when it names what does not exist."""
        how = "recipe" if form.get("how") == "recipe" else "build"
        focal = form.get("focal", "")
        return cls(how, form.get("recipe", ""), Draft.of_form(form), form.get("source", "").strip(), focal)

    def about(self, place: str) -> str:
        """What is wrong with a field."""
        return "; ".join(each.message for each in self.complaints if each.place == place)

    @property
    def elsewhere(self) -> list[Complaint]:
        """What is wrong with no field in particular."""
        return [each for each in self.complaints if not each.place]


async def show(visit: Visit) -> func.HttpResponse:
    """`GET playground`: an empty desk, or one with a recipe or a blob on it."""
    query, known = visit.query, visit.services.recipes.names
    recipe = query.get("recipe", "")
    desk = Desk(how="recipe" if recipe in known else "build", recipe=recipe, source=query.get("source", ""))
    return _page(visit, desk)


async def work(visit: Visit) -> func.HttpResponse:
    """`POST playground`: a button of the builder, or a run. What was typed comes back with what is wrong with it."""
    desk = Desk.of_form(visit.form)
    action = visit.form.get("do", "run")
    if action == "open":
        desk.draft, desk.how = Draft.of_recipe(visit.services.recipes.get(desk.recipe)), "build"
    elif action not in ("run", "redraw"):
        desk.draft = desk.draft.changed(action, visit.form.get("transform", ""))
        if "box" in visit.form and desk.draft.steps:
            desk.draft.steps[-1].params.clear()
            desk.draft.steps[-1].params.update(fields.read_transform("crop", {"box": visit.form["box"]}))
    if action != "run":
        return _page(visit, desk)
    return await _run(visit, desk)


async def _run(visit: Visit, desk: Desk) -> func.HttpResponse:
    status = 200
    try:
        desk.result = await _made(visit, desk)
    except DraftProblems as error:
        status, desk.complaints = 422, error.complaints
    except (BadRequest, PermanentError, JobOvertaken, ConfigError) as error:
        status, desk.complaints = 422, [Complaint(error.message)]
    except (TransientError, PoolFull) as error:
        status, desk.complaints = 503, [Complaint(error.message)]
    return _page(visit, desk, status)


def _page(visit: Visit, desk: Desk, status: int = 200) -> func.HttpResponse:
    return visit.page(
        "playground.html",
        status,
        desk=desk,
        recipes=list(visit.services.recipes),
        transforms=[(name, fields.line(name)) for name in fields.transform_names()],
        formats=[(name, fields.format_line(name)) for name in FORMATS],
        largest=LARGEST,
        input_container=visit.services.settings.input_container,
    )


async def _made(visit: Visit, desk: Desk) -> Result:
    services = visit.services
    chosen = _recipe(services, desk)
    picture = await _picture(visit, desk)
    assets = {name: await services.assets.get(name) for name in chosen.assets}
    started = time.perf_counter()
    shown, report = await _in_turn(services, chosen, picture, assets)
    seconds = time.perf_counter() - started
    if sum(len(one.data) for one in shown) > LARGEST:
        raise BadRequest(f"the renditions have more than {LARGEST:,} bytes together, too many to show here")
    return Result(picture.size, [(one, _address(one)) for one in shown], report, seconds)


async def _in_turn(
    services: Services, recipe: Recipe, picture: Picture, assets: dict[str, Asset]
) -> tuple[list[Shown], SessionReport]:
    label = None if recipe.isolation == "single" or recipe.needs_code else "shared"
    try:
        async with asyncio.timeout(PATIENCE), _turns, services.slots.seat(label) as session:
            return await preview(services.settings, session, recipe, picture, assets)
    except TimeoutError:
        raise PoolFull(f"no answer within {PATIENCE:.0f} s: every session is busy; try again in a moment") from None


def _recipe(services: Services, desk: Desk) -> Recipe:
    if desk.how == "recipe":
        return services.recipes.get(desk.recipe)
    return desk.draft.recipe(allow_code=services.settings.allow_code)


async def _picture(visit: Visit, desk: Desk) -> Picture:
    """The dropped picture, or the blob that is named."""
    focal = focal_point(desk.focal)
    dropped = visit.request.files.get("picture")
    if dropped is not None and (data := dropped.read()):
        if len(data) > min(LARGEST, visit.services.settings.max_source_bytes):
            raise BadRequest(f"the picture has {len(data):,} bytes; the playground takes {LARGEST:,} at most")
        return Picture(len(data), lambda: _whole(data), focal)
    if not desk.source:
        raise BadRequest("drop a picture first, or name a blob")
    container, _, name = desk.source.partition("/")
    settings = visit.services.settings
    if container not in (settings.input_container, settings.upload_container):
        container, name = settings.input_container, desk.source
    source = await visit.services.sources.open(container, name)
    if source.size > min(LARGEST, settings.max_source_bytes):
        raise BadRequest(f"the blob has {source.size:,} bytes; the playground takes {LARGEST:,} at most")
    return Picture(source.size, source.chunks, focal or focal_point(source.metadata.get("focal")))


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _address(shown: Shown) -> str:
    """The rendition as a data: address; empty for what browsers do not show."""
    kind = FORMATS[shown.facts.format].content_type
    if kind == "image/tiff":
        return ""
    return f"data:{kind};base64,{base64.b64encode(shown.data).decode()}"
