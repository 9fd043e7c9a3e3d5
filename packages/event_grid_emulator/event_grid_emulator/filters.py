"""Filters of event subscriptions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

from event_grid_emulator.events import Event

Predicate = Callable[[Any, list[Any]], bool]


def _any(test: Callable[[str, str], bool]) -> Predicate:
    """Match if any of the values matches. Like Event Grid, ignore case."""
    return lambda found, values: any(test(str(found).lower(), str(each).lower()) for each in values)


def _not(predicate: Predicate) -> Predicate:
    return lambda found, values: not predicate(found, values)


_in = _any(lambda found, value: found == value)
_begins = _any(lambda found, value: found.startswith(value))
_ends = _any(lambda found, value: found.endswith(value))
_contains = _any(lambda found, value: value in found)
OPERATORS: dict[str, Predicate] = {
    "StringIn": _in,
    "StringNotIn": _not(_in),
    "StringBeginsWith": _begins,
    "StringNotBeginsWith": _not(_begins),
    "StringEndsWith": _ends,
    "StringNotEndsWith": _not(_ends),
    "StringContains": _contains,
    "StringNotContains": _not(_contains),
    "NumberIn": lambda found, values: found in values,
    "NumberGreaterThan": lambda found, values: found > values[0],
    "NumberGreaterThanOrEquals": lambda found, values: found >= values[0],
    "NumberLessThan": lambda found, values: found < values[0],
    "NumberLessThanOrEquals": lambda found, values: found <= values[0],
    "IsNotNull": lambda *_: True,
}


class AzureModel(BaseModel):
    """A model with the camel-case field names of Azure."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class AdvancedFilter(AzureModel):
    """A condition on one field, such as `data.api`. A missing field matches only the negated operators."""

    operator_type: str
    key: str
    value: float | None = None
    values: list[Any] = []

    @field_validator("operator_type")
    @classmethod
    def _is_supported(cls, value: str) -> str:
        if value not in OPERATORS:
            raise ValueError(f"'{value}' is not supported; the operators are {', '.join(OPERATORS)}")
        return value

    def matches(self, event: Event) -> bool:
        """Return whether the event fulfills the condition."""
        found: Any = event.to_json(cloud=False) | event.to_json(cloud=True)
        for part in self.key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found is None or (self.operator_type.startswith("Number") and not isinstance(found, int | float)):
            return "Not" in self.operator_type and self.operator_type != "IsNotNull"
        return OPERATORS[self.operator_type](found, self.values or [self.value])


class Filter(AzureModel):
    """The filter of a subscription. An event must fulfill all conditions."""

    subject_begins_with: str = ""
    subject_ends_with: str = ""
    is_subject_case_sensitive: bool = False
    included_event_types: list[str] | None = None
    advanced_filters: list[AdvancedFilter] = Field([], max_length=25)

    def matches(self, event: Event) -> bool:
        """Return whether the event fulfills all conditions."""
        subject, begin, end = event.subject, self.subject_begins_with, self.subject_ends_with
        if not self.is_subject_case_sensitive:
            subject, begin, end = subject.lower(), begin.lower(), end.lower()
        return (
            subject.startswith(begin)
            and subject.endswith(end)
            and (self.included_event_types is None or event.type in self.included_event_types)
            and all(each.matches(event) for each in self.advanced_filters)
        )
