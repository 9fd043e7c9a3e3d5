"""The playground: a picture, a recipe or a draft of one, and what a real session makes of it. Keeps nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import azure.functions as func

from pipeline.console import forms
from pipeline.console.images import blob_of
from pipeline.console.recipe_draft import Complaint, Draft, DraftProblems
from pipeline.console.request import ConsoleRequest
from pipeline.engine.encode.formats import FORMATS
from pipeline.errors import PipelineError, PoolFull, RequestError, TransientError
from pipeline.jobs.preview import Preview, PreviewSource
from pipeline.jobs.rendering import FOCAL_POINT_KEY
from pipeline.recipes import Recipe, focal_point
from pipeline.services import Services
from pipeline.settings import MIB
from pipeline.storage.blob_names import safe_file_name

LARGEST = 32 * MIB
"""The largest picture that can be dropped, in bytes."""
AT_ONCE = 2
SUGGESTED = 20
_turns = asyncio.Semaphore(AT_ONCE)


@dataclass(frozen=True)
class Result:
    """What came out, of a source of that many bytes, and how long it took in seconds."""

    source_size: int
    made: Preview
    seconds: float


@dataclass
class PlaygroundState:
    """The state of the page, all of it in its form."""

    how: str = "build"
    recipe: str = ""
    draft: Draft = field(default_factory=Draft)
    source: str = ""
    focal: str = ""
    complaints: list[Complaint] = field(default_factory=list)
    result: Result | None = None

    @classmethod
    def of_form(cls, form: dict[str, str]) -> PlaygroundState:
        """Read the form. RequestError when it names what does not exist."""
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


async def show(visit: ConsoleRequest) -> func.HttpResponse:
    """`GET playground`: an empty desk, or one with a recipe or a blob on it."""
    query, known = visit.query, visit.services.recipes.names
    recipe = query.get("recipe", "")
    desk = PlaygroundState(how="recipe" if recipe in known else "build", recipe=recipe, source=query.get("source", ""))
    return _page(visit, desk, sources=await _lately_done(visit.services))


async def work(visit: ConsoleRequest) -> func.HttpResponse:
    """`POST playground`: a button of the builder, or a run. What was typed comes back with what is wrong with it."""
    desk = PlaygroundState.of_form(visit.form)
    action = visit.form.get("do", "run")
    if action == "open":
        desk.draft, desk.how = Draft.of_recipe(visit.services.recipes.get(desk.recipe)), "build"
    elif action not in ("run", "redraw"):
        desk.draft = desk.draft.changed(action, visit.form.get("transform", ""))
        if "box" in visit.form and desk.draft.steps:
            desk.draft.steps[-1].params.clear()
            desk.draft.steps[-1].params.update(forms.read_transform("crop", {"box": visit.form["box"]}))
    if action != "run":
        return _page(visit, desk)
    return await _run(visit, desk)


async def _run(visit: ConsoleRequest, desk: PlaygroundState) -> func.HttpResponse:
    status = 200
    try:
        desk.result = await _made(visit, desk)
    except DraftProblems as error:
        status, desk.complaints = 422, error.complaints
    except PipelineError as error:
        busy = isinstance(error, TransientError | PoolFull)
        status, desk.complaints = 503 if busy else 422, [Complaint(error.message)]
    return _page(visit, desk, status)


async def _lately_done(services: Services) -> list[str]:
    """Some sources to choose from: those of the newest jobs."""
    found, _ = await services.ledger.page(state="done", limit=SUGGESTED)
    return list(dict.fromkeys(f"{entry.container}/{entry.name}" for entry in found))


def _page(
    visit: ConsoleRequest, desk: PlaygroundState, status: int = 200, sources: Sequence[str] = ()
) -> func.HttpResponse:
    return visit.page(
        "playground.html",
        status,
        desk=desk,
        sources=sources,
        recipes=list(visit.services.recipes),
        transforms=[(name, forms.line(name)) for name in forms.transform_names()],
        formats=[(name, forms.format_line(name)) for name in FORMATS],
        largest=LARGEST,
        input_container=visit.services.settings.input_container,
    )


async def _made(visit: ConsoleRequest, desk: PlaygroundState) -> Result:
    chosen, image = _recipe(visit.services, desk), await _image(visit, desk)
    started = time.perf_counter()
    async with _turns:
        found = await visit.services.previewer.preview(chosen, image)
    return Result(image.size, found, time.perf_counter() - started)


def _recipe(services: Services, desk: PlaygroundState) -> Recipe:
    if desk.how == "recipe":
        return services.recipes.get(desk.recipe)
    return desk.draft.recipe(allow_code=services.settings.allow_code)


async def _image(visit: ConsoleRequest, desk: PlaygroundState) -> PreviewSource:
    """The dropped picture, or the blob that is named; a point that was clicked goes before the blob's own."""
    dropped = visit.request.files.get("picture")
    focal = {FOCAL_POINT_KEY: desk.focal} if focal_point(desk.focal) else {}
    if dropped is not None and (data := dropped.read()):
        _check(visit, len(data))
        return PreviewSource(safe_file_name(dropped.filename or ""), data, metadata=focal)
    if not desk.source:
        raise RequestError("drop a picture first, or name a blob")
    container, name = blob_of(visit, desk.source)
    source = await visit.services.sources.open(container, name)
    _check(visit, source.size)
    data = b"".join([chunk async for chunk in source.chunks()])
    return PreviewSource(name, data, container, {**source.metadata, **focal})


def _check(visit: ConsoleRequest, size: int) -> None:
    most = min(LARGEST, visit.services.settings.max_source_bytes)
    if size > most:
        raise RequestError(f"the picture has {size:,} bytes; the playground takes {most:,} at most")
