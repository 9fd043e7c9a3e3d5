"""Pydantic models of the recipe file."""

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
from pipeline.recipes import globs, output_paths
from pipeline.recipes.steps import MADE, STRICT, WRITTEN, AnyStep, StepOrUse

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
Glob = Annotated[str, AfterValidator(globs.check)]
Path = Annotated[
    str,
    AfterValidator(output_paths.check),
    Field(
        description="Output path of the rendition. Fields: " + ", ".join(f"{{{name}}}" for name in output_paths.FIELDS)
    ),
]
Carried = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,100}$")]
Steps = Annotated[list[StepOrUse], Field(max_length=50)]
PlainSteps = Annotated[list[AnyStep], Field(min_length=1, max_length=50)]
Positive = Annotated[int, Field(ge=1)]
CacheControl = Annotated[
    str,
    Field(pattern=r"^[\x20-\x7e]{1,200}$", description="Cache-Control header of the blob."),
]


class Size(BaseModel):
    """Limits of the size of a source in bytes."""

    model_config = WRITTEN

    min: Annotated[int, Field(ge=0)] = 0
    max: Annotated[int, Field(ge=1)] | None = None


class Match(BaseModel):
    """Rules for the uploads that a recipe matches. The source must meet all of them."""

    model_config = WRITTEN

    include: Annotated[list[Glob], Field(min_length=1, max_length=100)]
    """Globs of source names, of which one must match. `**/` matches zero or more folders. Case is ignored."""
    exclude: Annotated[list[Glob], Field(max_length=100)] = []
    """Globs of source names, of which none may match."""
    size: Size | None = None
    """Limits of the size in bytes."""
    content_type: Annotated[list[Glob], Field(min_length=1, max_length=20)] | None = None
    """Globs of the content type of the blob, such as `image/*`, of which one must match."""


class RecipeLimits(BaseModel):
    """Limits of a recipe. They apply where they are tighter than those of the settings."""

    model_config = WRITTEN

    max_source_bytes: Positive | None = None
    max_pixels: Positive | None = None
    """Width × height × frames of the source."""
    max_frames: Positive | None = None
    max_rendition_bytes: Positive | None = None
    max_rendition_pixels: Positive | None = None
    max_seconds: Annotated[float, Field(gt=0, le=3600)] | None = None
    """Maximum execution time of a job in seconds."""


def _fields(kind: type[Format] | type[Output]) -> dict[str, Any]:
    """Return the fields of a dataclass for `create_model`."""
    hints = get_type_hints(kind, include_extras=True)
    return {each.name: (hints[each.name], _default(each)) for each in dataclass_fields(kind)}


def _default(each: DataclassField[Any]) -> Any:  # noqa: ANN401 - a parameter of any type
    return each.default if each.default_factory is MISSING else Field(default_factory=each.default_factory)


class RenditionModel(BaseModel):
    """Keys that renditions of all formats have."""

    model_config = WRITTEN

    transforms: Steps = []
    """Transforms of this rendition alone, after those of the recipe."""
    path: Path | None = None
    """Output path of this rendition, in place of the recipe's."""
    cache_control: CacheControl | None = None
    widths: Annotated[list[Side], Field(min_length=1, max_length=20)] | None = None
    """Create one rendition per width in pixels, and add the width to its name: photo-400, photo-800, …"""

    def output(self) -> Output:
        """Return the options that all formats share."""
        return Output(**{each.name: getattr(self, each.name) for each in dataclass_fields(Output)})

    def format(self, defaults: Defaults) -> Format:
        """Return the format with its options: the rendition overrides the defaults, and these the format's own."""
        name: str = getattr(self, "format_name")  # noqa: B009 - the models of the formats have it
        kind = FORMATS[name]
        common: BaseModel | None = getattr(defaults, name)
        options = common.model_dump(exclude_unset=True) if common else {}
        names = self.model_fields_set & {each.name for each in dataclass_fields(kind)}
        return kind(**{**options, **{each: getattr(self, each) for each in names}})


def _rendition(kind: type[Format]) -> type[RenditionModel]:
    """Return the model of renditions in a format: the common keys and those of the format."""
    own = _fields(Output) | _fields(kind)
    own["format_name"] = (Annotated[str, Field(alias="format", pattern=f"^{kind.name}$")], ...)
    doc = (kind.__doc__ or "").splitlines()[0]
    model: type[RenditionModel] = create_model(
        f"{kind.__name__}Rendition", __base__=RenditionModel, __doc__=doc, __cls_kwargs__=MADE, **own
    )
    return model


def _tag(value: Any) -> str | None:  # noqa: ANN401 - any plain data
    return value.get("format") if isinstance(value, dict) else getattr(value, "format_name", None)


RENDITION_MODELS = {name: _rendition(kind) for name, kind in FORMATS.items()}

if TYPE_CHECKING:
    AnyRendition = RenditionModel
else:
    _UNION = reduce(or_, (Annotated[model, Tag(name)] for name, model in RENDITION_MODELS.items()))
    AnyRendition = Annotated[_UNION, Discriminator(_tag)]


class _Shared(BaseModel):
    """Keys of recipes that also have defaults."""

    model_config = WRITTEN

    path: Path | None = None
    cache_control: CacheControl | None = None
    isolation: Literal["shared", "trusted", "tenant", "single"] | None = None
    """Jobs that may share a session: shared (all jobs with this level), trusted (uploads of trusted recipes), tenant
    (sources of one top-level folder) or single (no others)."""
    on_truncated: Literal["fail", "patch"] | None = None
    """Handling of truncated files: fail, or patch (fill the rest with gray, and mark the rendition as patched)."""
    hdr: Literal["tone_map", "refuse"] | None = None
    """Handling of HDR images in PQ or HLG: tone_map (convert them to sRGB), or refuse (fail)."""
    limits: RecipeLimits | None = None
    carry: Annotated[list[Carried], Field(max_length=20)] | None = None
    """Names of the source blob's metadata that its renditions keep."""


def _defaults() -> type[_Shared]:
    """Return the model of the defaults: common keys of recipes, and options by format."""
    options: dict[str, Any] = {}
    for name, kind in FORMATS.items():
        doc = f"Default options of {name} renditions."
        model = create_model(f"{kind.__name__}Defaults", __config__=STRICT, __doc__=doc, **_fields(kind))
        options[name] = (model | None, None)
    doc = "Default values for all recipes."
    return create_model("Defaults", __base__=_Shared, __doc__=doc, __cls_kwargs__=MADE, **options)


if TYPE_CHECKING:
    Defaults = _Shared
else:
    Defaults = _defaults()


class RecipeModel(_Shared):
    """A recipe: match rules, transforms and renditions."""

    description: Annotated[str, Field(max_length=500)] | None = None
    """Description for readers."""

    match: Match | None = None
    """Rules for uploads. Without them, the recipe runs only for requests that name it."""
    transforms: Steps = []
    """Transforms that all renditions share; they are executed once per source."""
    renditions: Annotated[dict[Name, AnyRendition], Field(min_length=1, max_length=50)]
    exclusive: bool = False
    """If true, uploads that match this recipe are not matched against the recipes below it."""


class FileModel(BaseModel):
    """A recipe file."""

    model_config = WRITTEN

    defaults: Defaults = Defaults()
    """Values for all recipes; a recipe and a rendition override them."""
    blocks: Annotated[dict[Name, PlainSteps], Field(max_length=100)] = {}
    """Named lists of transforms. `- use: NAME` inserts one into any list of transforms."""
    recipes: Annotated[dict[Name, RecipeModel], Field(min_length=1, max_length=500)]
