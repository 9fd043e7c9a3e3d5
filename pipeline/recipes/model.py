"""The shape of the recipe file."""

from __future__ import annotations

from dataclasses import MISSING
from dataclasses import Field as DataclassField
from dataclasses import fields as dataclass_fields
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from pydantic import AfterValidator, BaseModel, Discriminator, Field, Tag, create_model

from pipeline.transforms.formats import FORMATS, Format
from pipeline.transforms.output import Output

from . import globs, paths
from .steps import STRICT, AnyStep

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
Glob = Annotated[str, AfterValidator(globs.check)]
Path = Annotated[
    str,
    AfterValidator(paths.check),
    Field(description="where the rendition goes; fields: " + ", ".join(f"{{{name}}}" for name in paths.FIELDS)),
]
Steps = Annotated[list[AnyStep], Field(max_length=50)]
CacheControl = Annotated[
    str,
    Field(pattern=r"^[\x20-\x7e]{1,200}$", description="the Cache-Control header that the blob is served with"),
]


class Match(BaseModel):
    """Which sources a recipe is for, by their names in the input container."""

    model_config = STRICT

    include: Annotated[list[Glob], Field(min_length=1, max_length=100)]
    """Globs: a source needs to match one of them. `**/` is any folders or none; case does not count."""
    exclude: Annotated[list[Glob], Field(max_length=100)] = []
    """Globs: a source that matches one of them is left out."""


class RenditionModel(BaseModel):
    """What every rendition can say, whatever its format."""

    model_config = STRICT

    transforms: Steps = []
    """Transforms for this rendition alone, after those of the recipe."""
    path: Path | None = None
    """Where it goes, when not where the recipe says."""
    cache_control: CacheControl | None = None

    def output(self) -> Output:
        """What any format can be told."""
        return Output(**{each.name: getattr(self, each.name) for each in dataclass_fields(Output)})

    def format(self) -> Format:
        """The format with its options."""
        kind = FORMATS[getattr(self, "format_name")]  # noqa: B009 - added below, by format
        return kind(**{field.name: getattr(self, field.name) for field in dataclass_fields(kind)})


def _fields(kind: type[Format] | type[Output]) -> dict[str, Any]:
    """The fields of a dataclass as pydantic takes them."""
    hints = get_type_hints(kind, include_extras=True)
    return {each.name: (hints[each.name], _default(each)) for each in dataclass_fields(kind)}


def _default(each: DataclassField[Any]) -> Any:  # noqa: ANN401 - of any type that a parameter has
    return each.default if each.default_factory is MISSING else Field(default_factory=each.default_factory)


def _rendition(kind: type[Format]) -> type[RenditionModel]:
    """The model of a rendition in one format: the common keys and those of the format."""
    own = _fields(Output) | _fields(kind)
    own["format_name"] = (Annotated[str, Field(alias="format", pattern=f"^{kind.name}$")], ...)
    doc = (kind.__doc__ or "").splitlines()[0]
    model: type[RenditionModel] = create_model(f"{kind.__name__}Rendition", __base__=RenditionModel, __doc__=doc, **own)
    return model


def _tag(value: Any) -> str | None:  # noqa: ANN401 - anything may stand in the file
    return value.get("format") if isinstance(value, dict) else getattr(value, "format_name", None)


RENDITION_MODELS = {name: _rendition(kind) for name, kind in FORMATS.items()}

if TYPE_CHECKING:
    AnyRendition = RenditionModel
else:
    _UNION = reduce(or_, (Annotated[model, Tag(name)] for name, model in RENDITION_MODELS.items()))
    AnyRendition = Annotated[_UNION, Discriminator(_tag)]


class RecipeModel(BaseModel):
    """One recipe: which sources, what is done to them, and what comes out."""

    model_config = STRICT

    match: Match | None = None
    """Left out: the recipe is for requests that name it, and takes no dropped source."""
    transforms: Steps = []
    """Done once, for all renditions."""
    renditions: Annotated[dict[Name, AnyRendition], Field(min_length=1, max_length=50)]
    path: Path = paths.DEFAULT
    cache_control: CacheControl | None = None


class FileModel(BaseModel):
    """The whole file."""

    model_config = STRICT

    recipes: Annotated[dict[Name, RecipeModel], Field(min_length=1, max_length=500)]
