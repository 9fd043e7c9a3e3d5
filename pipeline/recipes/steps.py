"""Transforms and formats as the recipe file writes them, made into pydantic models out of their own classes."""

from __future__ import annotations

from dataclasses import asdict
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Tag, create_model

from pipeline.engine.base import Transform
from pipeline.engine.protocol import Step
from pipeline.engine.transforms.registry import TRANSFORMS

# Nothing is built before it is needed: the file's model brings in all others.
STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)
# The docstrings of the fields become their descriptions. Only for classes that are written out: pydantic reads the
# source of each for that, and searches the whole stack for those that are made.
WRITTEN = ConfigDict(**STRICT, use_attribute_docstrings=True)
MADE = {"use_attribute_docstrings": False}


class StepModel(BaseModel):
    """One transform of a list: a mapping of its name to its parameters."""

    model_config = STRICT

    def transform(self) -> Transform:
        """The transform with its parameters."""
        (name,) = type(self).model_fields
        value: Transform = getattr(self, name)
        return value

    def step(self) -> Step:
        """The transform as it stands in a job document."""
        transform = self.transform()
        return Step(name=transform.name, params=asdict(transform))


def _model(kind: type[Transform]) -> type[StepModel]:
    doc = (kind.__doc__ or "").splitlines()[0]
    field: dict[str, Any] = {kind.name: kind}
    return create_model(f"{kind.__name__}Step", __base__=StepModel, __doc__=doc, **field)


def _normal(value: Any) -> Any:  # noqa: ANN401 - anything may stand in the file
    """`grayscale` and `grayscale:` mean its default parameters, and `blur: 4` the one that is mostly wanted."""
    if isinstance(value, str):
        return {value: {}}
    if not isinstance(value, dict) or len(value) != 1:
        return value
    ((name, params),) = value.items()
    shorthand = TRANSFORMS[name].shorthand if name in TRANSFORMS else None
    if params is None:
        return {name: {}}
    return {name: {shorthand: params}} if shorthand and not isinstance(params, dict) else value


def _tag(value: Any) -> str | None:  # noqa: ANN401
    if isinstance(value, BaseModel):
        return next(iter(type(value).model_fields))
    return next(iter(value)) if isinstance(value, dict) and len(value) == 1 else None


class Use(BaseModel):
    """The transforms of a named block."""

    model_config = WRITTEN

    use: str
    """The block's name."""


STEP_MODELS = {name: _model(kind) for name, kind in TRANSFORMS.items()}

if TYPE_CHECKING:
    AnyStep = StepModel
    StepOrUse = StepModel | Use
else:
    _UNION = reduce(or_, (Annotated[model, Tag(name)] for name, model in STEP_MODELS.items()))
    AnyStep = Annotated[Annotated[_UNION, Discriminator(_tag)], BeforeValidator(_normal)]
    StepOrUse = Annotated[Annotated[_UNION | Annotated[Use, Tag("use")], Discriminator(_tag)], BeforeValidator(_normal)]
