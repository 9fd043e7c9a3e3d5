"""Playground: preview of a recipe, or of a draft of one, on an image, in a session of the pool. It stores nothing.

A draft is validated like a recipe file; its form and the recipe file convert to each other.
"""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import azure.functions as func

from pipeline import recipes
from pipeline.console import forms
from pipeline.console.images import MAX_IMAGE_BYTES, parse_source
from pipeline.console.request import ConsoleRequest
from pipeline.engine.encode.formats import FORMATS
from pipeline.engine.transforms.registry import FIRST, TRANSFORMS
from pipeline.errors import ConfigError, PipelineError, PoolFull, RequestError, TransientError
from pipeline.jobs.preview import Preview, Previewer, PreviewSource
from pipeline.jobs.source_metadata import FOCAL_POINT_KEY
from pipeline.recipes import Recipe, Recipes, focal_point, yaml_loader
from pipeline.settings import Settings
from pipeline.storage import Ledger, Sources, safe_file_name

FILE_NAME = "draft"
RECIPE_NAME = "draft"
RENDITION_NAME = "image"
MAX_STEPS = 30


@dataclass(frozen=True)
class FieldError:
    """An error message, and the id of its form field, such as `step-0-box` or `format-quality`; empty for no field."""

    message: str
    field_id: str = ""

    @classmethod
    def parse(cls, line: str) -> Self:
        """Parse one line of the error message about a recipe file."""
        text = re.sub(rf"^{FILE_NAME}:\d+:\d+: ", "", line)
        path, _, message = text.partition(": ")
        step = re.match(rf"recipes\.{RECIPE_NAME}\.transforms\[(\d+)\](?:\.\w+(?:\.(\w+))?)?", path)
        option = re.fullmatch(rf"recipes\.{RECIPE_NAME}\.renditions\.{RENDITION_NAME}\.(\w+).*", path)
        if step:
            return cls(message, f"step-{step[1]}" + (f"-{step[2]}" if step[2] else ""))
        return cls(message, f"format-{option[1]}") if option else cls(text)


class InvalidDraft(RequestError):  # noqa: N818 - named for its cause, like its base class's other kinds
    """The draft is not a valid recipe."""

    default_kind = "invalid_draft"

    def __init__(self, errors: list[FieldError]) -> None:
        """Set the message from the errors of all fields."""
        super().__init__("\n".join(f"{each.field_id}: {each.message}".removeprefix(": ") for each in errors))
        self.errors = errors


@dataclass(frozen=True)
class DraftStep:
    """A transform, and its parameters without defaults."""

    name: str
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def fields(self) -> list[forms.Field]:
        """The form fields of the transform."""
        return forms.fields(TRANSFORMS[self.name], self.params)

    @property
    def summary(self) -> str:
        """The description of the transform in one line."""
        return forms.summary(TRANSFORMS[self.name])


@dataclass(frozen=True)
class Draft:
    """A draft: transforms in their order, and one rendition."""

    steps: tuple[DraftStep, ...] = ()
    format: str = "webp"
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_form(cls, form: Mapping[str, str]) -> Self:
        """Parse a form. Raises RequestError if it names an unknown transform or format."""
        steps: list[DraftStep] = []
        while (name := form.get(f"step-{len(steps)}")) is not None and len(steps) < MAX_STEPS:
            if name not in TRANSFORMS:
                raise RequestError(f"there is no transform {name[:40]!r}")
            steps.append(DraftStep(name, forms.parse(TRANSFORMS[name], _with_prefix(form, f"step-{len(steps)}-"))))
        format_name = form.get("format", cls.format)
        if format_name not in FORMATS:
            raise RequestError(f"there is no format {format_name[:40]!r}")
        return cls(tuple(steps), format_name, forms.parse(FORMATS[format_name], _with_prefix(form, "format-")))

    @classmethod
    def from_recipe(cls, recipe: Recipe, rendition: str | None = None) -> Self:
        """Return the transforms of one rendition of a recipe: the named rendition, or the first."""
        chosen = next((each for each in recipe.renditions if each.name == rendition), recipe.renditions[0])
        steps = [
            step for step in (*recipe.steps, *chosen.steps) if step["name"] not in FIRST or step["name"] == "frame"
        ]
        return cls(
            tuple(
                DraftStep(step["name"], forms.parse(TRANSFORMS[step["name"]], _texts(step["params"]))) for step in steps
            ),
            chosen.format,
            forms.parse(FORMATS[chosen.format], _texts(chosen.options())),
        )

    @property
    def format_fields(self) -> list[forms.Field]:
        """The form fields of the rendition's format."""
        return forms.fields(FORMATS[self.format], self.options)

    def edited(self, command: str, transform: str = "") -> Self:
        """Apply a button: `add` with a transform, or `remove-2`, `up-2`, `down-2` for the third step."""
        verb, _, position = command.partition("-")
        steps = list(self.steps)
        index = int(position) if re.fullmatch(r"\d{1,2}", position) else -1
        if verb == "add" and transform in TRANSFORMS and len(steps) < MAX_STEPS:
            # The example's parameters are valid, and required fields cannot be empty.
            steps.append(DraftStep(transform, dict(TRANSFORMS[transform].example)))
        elif verb == "remove" and 0 <= index < len(steps):
            del steps[index]
        elif verb == "up" and 0 < index < len(steps):
            steps[index - 1], steps[index] = steps[index], steps[index - 1]
        elif verb == "down" and 0 <= index < len(steps) - 1:
            steps[index + 1], steps[index] = steps[index], steps[index + 1]
        return replace(self, steps=tuple(steps))

    def yaml(self, name: str = RECIPE_NAME) -> str:
        """Return the draft as a recipe file."""
        steps = [{step.name: step.params} if step.params else step.name for step in self.steps]
        rendition = {"format": self.format, **self.options}
        recipe = {**({"transforms": steps} if steps else {}), "renditions": {RENDITION_NAME: rendition}}
        return yaml_loader.dump({"recipes": {name: recipe}})

    def recipe(self, *, allow_code: bool) -> Recipe:
        """Return the draft as a recipe, validated like a recipe file. Raises InvalidDraft with all errors."""
        try:
            return recipes.loads(self.yaml(), FILE_NAME, allow_code=allow_code).get(RECIPE_NAME)
        except ConfigError as error:
            raise InvalidDraft([FieldError.parse(line) for line in error.message.splitlines()]) from None


def _with_prefix(form: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Return the fields whose names begin with a prefix, without that prefix."""
    return {name.removeprefix(prefix): value for name, value in form.items() if name.startswith(prefix)}


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: forms.to_text(value) for name, value in values.items()}


MAX_CONCURRENT_PREVIEWS = 2
MAX_SUGGESTED_SOURCES = 20
STAGE_LABELS = {
    "acquire": "waiting for a session",
    "upload": "upload",
    "wait": "waiting in the session",
    "execute": "execution",
    "download": "download",
}
"""The stages of a preview, in words. Other times of a preview are parts of these."""


@dataclass(frozen=True)
class PlaygroundResult:
    """A preview, the size of its source in bytes, and its duration in seconds."""

    source_size: int
    preview: Preview
    seconds: float

    @property
    def stages(self) -> list[tuple[str, float]]:
        """The milliseconds of each stage, by its name in words."""
        return [(label, self.preview.ms[name]) for name, label in STAGE_LABELS.items() if name in self.preview.ms]


@dataclass
class PlaygroundState:
    """State of the page; its form holds all of it.

    Attributes:
        mode: `recipe` for a recipe of the recipe file, `build` for the draft.
        recipe: The name of the recipe.
        draft: The draft.
        source: The container and name of the source blob.
        focal: The focal point.
        errors: Errors of the draft or the preview.
        result: The last preview.
    """

    mode: str = "build"
    recipe: str = ""
    draft: Draft = field(default_factory=Draft)
    source: str = ""
    focal: str = ""
    errors: list[FieldError] = field(default_factory=list)
    result: PlaygroundResult | None = None

    @classmethod
    def from_form(cls, form: dict[str, str]) -> Self:
        """Parse the form. Raises RequestError if it names an unknown transform or format."""
        return cls(
            mode="recipe" if form.get("mode") == "recipe" else "build",
            recipe=form.get("recipe", ""),
            draft=Draft.from_form(form),
            source=form.get("source", "").strip(),
            focal=form.get("focal", ""),
        )

    def field_error(self, field_id: str) -> str:
        """Return the error messages of a field."""
        return "; ".join(each.message for each in self.errors if each.field_id == field_id)

    @property
    def general_errors(self) -> list[FieldError]:
        """The errors of no particular field."""
        return [each for each in self.errors if not each.field_id]


@dataclass(frozen=True)
class PlaygroundPages:
    """Show the playground, edit the draft, and render previews."""

    settings: Settings
    recipes: Recipes
    ledger: Ledger
    sources: Sources
    previewer: Previewer
    preview_slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_CONCURRENT_PREVIEWS))

    async def show(self, request: ConsoleRequest) -> func.HttpResponse:
        """`GET playground`: show an empty playground, or one with a recipe or a source."""
        recipe = request.query.get("recipe", "")
        mode = "recipe" if recipe in self.recipes.names else "build"
        state = PlaygroundState(mode=mode, recipe=recipe, source=request.query.get("source", ""))
        return self._page(request, state, suggested_sources=await self._suggested_sources())

    async def submit(self, request: ConsoleRequest) -> func.HttpResponse:
        """`POST playground`: edit the draft, or render a preview. Keeps the input, with errors at their fields."""
        form, state = request.form, PlaygroundState.from_form(request.form)
        command = form.get("command", "preview")
        if command == "open":
            state.draft, state.mode = Draft.from_recipe(self.recipes.get(state.recipe)), "build"
        elif command not in ("preview", "redraw"):
            state.draft = state.draft.edited(command, form.get("transform", ""))
            if "box" in form and state.draft.steps:
                params = state.draft.steps[-1].params
                params.clear()
                params.update(forms.parse(TRANSFORMS["crop"], {"box": form["box"]}))
        if command != "preview":
            return self._page(request, state)
        return self._page(request, state, await self._preview(request, state))

    async def _preview(self, request: ConsoleRequest, state: PlaygroundState) -> int:
        """Render a preview into the state, or its errors; return the HTTP status."""
        try:
            recipe, source = self._recipe(state), await self._source(request, state)
            started = time.perf_counter()
            async with self.preview_slots:
                preview = await self.previewer.preview(recipe, source)
        except InvalidDraft as error:
            state.errors = error.errors
            return 422
        except PipelineError as error:
            state.errors = [FieldError(error.message)]
            return 503 if isinstance(error, TransientError | PoolFull) else 422
        state.result = PlaygroundResult(source.size, preview, time.perf_counter() - started)
        return 200

    def _recipe(self, state: PlaygroundState) -> Recipe:
        if state.mode == "recipe":
            return self.recipes.get(state.recipe)
        return state.draft.recipe(allow_code=self.settings.allow_code)

    async def _source(self, request: ConsoleRequest, state: PlaygroundState) -> PreviewSource:
        """Return the uploaded image, or the named blob. A focal point of the form replaces that of the blob."""
        file = request.http.files.get("image")
        focal = {FOCAL_POINT_KEY: state.focal} if focal_point(state.focal) else {}
        if file is not None and (data := file.read()):
            self._check_size(len(data))
            return PreviewSource(safe_file_name(file.filename or ""), data, metadata=focal)
        if not state.source:
            raise RequestError("no image: drop an image, or enter a blob name")
        container, name = parse_source(state.source, self.settings)
        source = await self.sources.open(container, name)
        self._check_size(source.size)
        data = b"".join([chunk async for chunk in source.chunks()])
        return PreviewSource(name, data, container, {**source.metadata, **focal})

    def _check_size(self, size: int) -> None:
        limit = min(MAX_IMAGE_BYTES, self.settings.max_source_bytes)
        if size > limit:
            raise RequestError(f"the image has {size:,} bytes; the limit of the playground is {limit:,}")

    async def _suggested_sources(self) -> list[str]:
        """Return the sources of the latest jobs in the state done."""
        entries, _ = await self.ledger.page(state="done", limit=MAX_SUGGESTED_SOURCES)
        return list(dict.fromkeys(f"{entry.container}/{entry.name}" for entry in entries))

    def _page(
        self, request: ConsoleRequest, state: PlaygroundState, status: int = 200, suggested_sources: Sequence[str] = ()
    ) -> func.HttpResponse:
        return request.render(
            "playground.html",
            status,
            state=state,
            suggested_sources=suggested_sources,
            recipes=list(self.recipes),
            transforms=[(name, forms.summary(TRANSFORMS[name])) for name in forms.transform_names()],
            formats=[(name, forms.summary(kind)) for name, kind in FORMATS.items()],
            max_bytes=MAX_IMAGE_BYTES,
            input_container=self.settings.input_container,
        )
