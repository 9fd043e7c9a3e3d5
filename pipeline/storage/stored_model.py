"""Base of everything that is stored as JSON and read by other versions of the app: messages, plans and runs.

An older version ignores the fields that it does not know. A newer version lists a field in `needs` if it must not be
ignored: an older version then refuses the whole object.
"""

from typing import Any, ClassVar, Self

from pydantic import BaseModel, Field, model_validator

from pipeline.errors import Unreadable


class StoredModel(BaseModel, extra="ignore"):
    """An object that other versions of the app read.

    `needs` names the fields that a reader must know, those of a part with its name in front: `selection.prefix`.
    """

    noun: ClassVar[str] = "object"
    unreadable_kind: ClassVar[str] = "bad_message"
    needs: tuple[str, ...] = Field((), max_length=20)

    @classmethod
    def read(cls, content: Any) -> Self:  # noqa: ANN401 - any JSON value
        """Return the object of a JSON value. Raises Unreadable if this version of the app cannot read it."""
        try:
            return cls.model_validate(content)
        except ValueError as error:
            raise Unreadable(f"not a {cls.noun}: {str(error)[:300]}", kind=cls.unreadable_kind) from None

    @model_validator(mode="after")
    def _knows_needs(self) -> Self:
        """Raise ValueError if a needed field is unknown to this version."""
        unknown = [path for path in self.needs if not _has_field(type(self), path)]
        if unknown:
            raise ValueError(f"this version of the app does not know the needed field {unknown[0][:60]!r}")
        return self


def _has_field(model: type[BaseModel], path: str) -> bool:
    name, _, rest = path.partition(".")
    if name not in model.model_fields or not rest:
        return name in model.model_fields
    part = model.model_fields[name].annotation
    return isinstance(part, type) and issubclass(part, BaseModel) and _has_field(part, rest)
