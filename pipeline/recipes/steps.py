"""Pydantic models of the transforms in a recipe file, created from the classes of the engine."""

from dataclasses import asdict
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Tag, create_model

from pipeline.engine.base import Transform
from pipeline.engine.protocol import Step
from pipeline.engine.transforms.registry import TRANSFORMS

# Build validators at first use: the model of the file builds all others.
STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)
# Use the docstrings of fields as their descriptions. Pydantic reads the source of the class for this, and would search
# the whole stack for classes from `create_model`.
WRITTEN = ConfigDict(**STRICT, use_attribute_docstrings=True)
MADE = {"use_attribute_docstrings": False}


class StepModel(BaseModel):
    """A transform in a list: a mapping of its name to its parameters."""

    model_config = STRICT

    def transform(self) -> Transform:
        """Return the transform with its parameters."""
        (name,) = type(self).model_fields
        value: Transform = getattr(self, name)
        return value

    def step(self) -> Step:
        """Return the transform for a job document."""
        transform = self.transform()
        return Step(name=transform.name, params=asdict(transform))


def _model(kind: type[Transform]) -> type[StepModel]:
    doc = (kind.__doc__ or "").splitlines()[0]
    field: dict[str, Any] = {kind.name: kind}
    return create_model(f"{kind.__name__}Step", __base__=StepModel, __doc__=doc, **field)


def _normal(value: Any) -> Any:  # noqa: ANN401 - any plain data
    """Expand short forms: `grayscale` and `grayscale:` have default parameters, `blur: 4` sets the main parameter."""
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
    """Insert the transforms of a block."""

    model_config = WRITTEN

    use: str
    """Name of the block."""


STEP_MODELS = {name: _model(kind) for name, kind in TRANSFORMS.items()}

if TYPE_CHECKING:
    AnyStep = StepModel
    StepOrUse = StepModel | Use
else:
    _UNION = reduce(or_, (Annotated[model, Tag(name)] for name, model in STEP_MODELS.items()))
    AnyStep = Annotated[Annotated[_UNION, Discriminator(_tag)], BeforeValidator(_normal)]
    StepOrUse = Annotated[Annotated[_UNION | Annotated[Use, Tag("use")], Discriminator(_tag)], BeforeValidator(_normal)]
