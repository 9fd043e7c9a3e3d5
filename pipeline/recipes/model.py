"""The shape of the recipe file."""

from __future__ import annotations

from dataclasses import MISSING
from dataclasses import Field as DataclassField
from dataclasses import fields as dataclass_fields
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from pydantic import AfterValidator, BaseModel, Discriminator, Field, Tag, create_model

from pipeline.engine.constraints import Side
from pipeline.engine.encode.formats import FORMATS, Format
from pipeline.engine.encode.output import Output

from . import globs, output_paths
from .steps import MADE, STRICT, WRITTEN, AnyStep, StepOrUse

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
Glob = Annotated[str, AfterValidator(globs.check)]
Path = Annotated[
    str,
    AfterValidator(output_paths.check),
    Field(description="where the rendition goes; fields: " + ", ".join(f"{{{name}}}" for name in output_paths.FIELDS)),
]
Carried = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,100}$")]
Steps = Annotated[list[StepOrUse], Field(max_length=50)]
PlainSteps = Annotated[list[AnyStep], Field(min_length=1, max_length=50)]
Positive = Annotated[int, Field(ge=1)]
CacheControl = Annotated[
    str,
    Field(pattern=r"^[\x20-\x7e]{1,200}$", description="the Cache-Control header that the blob is served with"),
]


class Size(BaseModel):
    """Bounds on the size of a source in bytes."""

    model_config = WRITTEN

    min: Annotated[int, Field(ge=0)] = 0
    max: Annotated[int, Field(ge=1)] | None = None


class Match(BaseModel):
    """Which sources a recipe is for, by their names in the input container."""

    model_config = WRITTEN

    include: Annotated[list[Glob], Field(min_length=1, max_length=100)]
    """Globs: a source needs to match one of them. `**/` is any folders or none; case does not count."""
    exclude: Annotated[list[Glob], Field(max_length=100)] = []
    """Globs: a source that matches one of them is left out."""
    size: Size | None = None
    """Bounds on the size in bytes."""
    content_type: Annotated[list[Glob], Field(min_length=1, max_length=20)] | None = None
    """Globs on the content type that the blob was uploaded with, like `image/*`."""


class RecipeLimits(BaseModel):
    """Limits of one recipe. They can only be tighter than those of the settings."""

    model_config = WRITTEN

    max_source_bytes: Positive | None = None
    max_pixels: Positive | None = None
    """Width × height × frames of the source."""
    max_frames: Positive | None = None
    max_rendition_bytes: Positive | None = None
    max_rendition_pixels: Positive | None = None
    max_seconds: Annotated[float, Field(gt=0, le=3600)] | None = None
    """Time that a job may take in its session."""


def _fields(kind: type[Format] | type[Output]) -> dict[str, Any]:
    """The fields of a dataclass as pydantic takes them."""
    hints = get_type_hints(kind, include_extras=True)
    return {each.name: (hints[each.name], _default(each)) for each in dataclass_fields(kind)}


def _default(each: DataclassField[Any]) -> Any:  # noqa: ANN401 - of any type that a parameter has
    return each.default if each.default_factory is MISSING else Field(default_factory=each.default_factory)


class RenditionModel(BaseModel):
    """What every rendition can say, whatever its format."""

    model_config = WRITTEN

    transforms: Steps = []
    """Transforms for this rendition alone, after those of the recipe."""
    path: Path | None = None
    """Where it goes, when not where the recipe says."""
    cache_control: CacheControl | None = None
    widths: Annotated[list[Side], Field(min_length=1, max_length=20)] | None = None
    """Make one rendition for each of these widths, named after it: photo becomes photo-400, photo-800, …"""

    def output(self) -> Output:
        """What any format can be told."""
        return Output(**{each.name: getattr(self, each.name) for each in dataclass_fields(Output)})

    def format(self, defaults: Defaults) -> Format:
        """The format with its options: those written here, then those of the defaults, then those of the format."""
        name: str = getattr(self, "format_name")  # noqa: B009 - added below, by format
        kind = FORMATS[name]
        usual: BaseModel | None = getattr(defaults, name)
        options = usual.model_dump(exclude_unset=True) if usual else {}
        options |= {each.name: getattr(self, each.name) for each in dataclass_fields(kind) if self._says(each.name)}
        return kind(**options)

    def _says(self, name: str) -> bool:
        return name in self.model_fields_set


def _rendition(kind: type[Format]) -> type[RenditionModel]:
    """The model of a rendition in one format: the common keys and those of the format."""
    own = _fields(Output) | _fields(kind)
    own["format_name"] = (Annotated[str, Field(alias="format", pattern=f"^{kind.name}$")], ...)
    doc = (kind.__doc__ or "").splitlines()[0]
    model: type[RenditionModel] = create_model(
        f"{kind.__name__}Rendition", __base__=RenditionModel, __doc__=doc, __cls_kwargs__=MADE, **own
    )
    return model


def _tag(value: Any) -> str | None:  # noqa: ANN401 - anything may stand in the file
    return value.get("format") if isinstance(value, dict) else getattr(value, "format_name", None)


RENDITION_MODELS = {name: _rendition(kind) for name, kind in FORMATS.items()}

if TYPE_CHECKING:
    AnyRendition = RenditionModel
else:
    _UNION = reduce(or_, (Annotated[model, Tag(name)] for name, model in RENDITION_MODELS.items()))
    AnyRendition = Annotated[_UNION, Discriminator(_tag)]


class _Shared(BaseModel):
    """What recipes can say, and the defaults for all of them."""

    model_config = WRITTEN

    path: Path | None = None
    cache_control: CacheControl | None = None
    isolation: Literal["shared", "trusted", "tenant", "single"] | None = None
    """Who shares a session: all jobs, those of recipes that are trusted with images of one's own, those of one top
    folder, or nobody."""
    on_truncated: Literal["fail", "patch"] | None = None
    """What becomes of a file that was cut short: a failure, or a picture with a gray rest, marked as patched."""
    limits: RecipeLimits | None = None
    carry: Annotated[list[Carried], Field(max_length=20)] | None = None
    """Names of the source blob's own metadata that its renditions get too."""


def _defaults() -> type[_Shared]:
    """The model of the defaults: what recipes share, and options by format."""
    options: dict[str, Any] = {}
    for name, kind in FORMATS.items():
        doc = f"Options of every {name} rendition that does not say otherwise."
        usual = create_model(f"{kind.__name__}Defaults", __config__=STRICT, __doc__=doc, **_fields(kind))
        options[name] = (usual | None, None)
    doc = "What recipes say when they do not say it."
    return create_model("Defaults", __base__=_Shared, __doc__=doc, __cls_kwargs__=MADE, **options)


if TYPE_CHECKING:
    Defaults = _Shared
else:
    Defaults = _defaults()


class RecipeModel(_Shared):
    """One recipe: which sources, what is done to them, and what comes out."""

    description: Annotated[str, Field(max_length=500)] | None = None
    """What it is for, for people."""

    match: Match | None = None
    """Left out: the recipe is for requests that name it, and takes no dropped source."""
    transforms: Steps = []
    """Done once, for all renditions."""
    renditions: Annotated[dict[Name, AnyRendition], Field(min_length=1, max_length=50)]
    exclusive: bool = False
    """true: a source that this recipe takes is not offered to the recipes below it."""


class FileModel(BaseModel):
    """The whole file."""

    model_config = WRITTEN

    defaults: Defaults = Defaults()
    """What every recipe says unless it says it itself."""
    blocks: Annotated[dict[Name, PlainSteps], Field(max_length=100)] = {}
    """Named lists of transforms: `- use: NAME` puts one into any list of transforms."""
    recipes: Annotated[dict[Name, RecipeModel], Field(min_length=1, max_length=500)]
