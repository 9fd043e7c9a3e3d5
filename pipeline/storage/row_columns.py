"""Typed columns of a table row. A person may have edited the row by hand, or another version may have written it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.data.tables import EdmType, EntityProperty

# A claim lasts an hour at most, and clocks differ by minutes.
MAX_AHEAD = timedelta(days=1)


class InvalidColumn(ValueError):  # noqa: N818 - named after the invalid object
    """A column of a row is missing or holds a value of another type."""


class Columns:
    """Columns of a row. Every method raises InvalidColumn if the value has another type."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        """Read a row. The service returns null for a selected column that the row does not have."""
        self._values = {column: value for column, value in row.items() if value is not None}

    def text(self, column: str, default: str | None = None) -> str:
        """Return a text."""
        return str(self._typed(column, str, default))

    def number(self, column: str, default: int | None = None) -> int:
        """Return an integer."""
        return int(self._typed(column, int, default))

    def seconds(self, column: str) -> float:
        """Return a number of seconds; 0 without the column."""
        return float(self._typed(column, int | float, 0.0))

    def moment(self, column: str, default: datetime | None = None) -> datetime:
        """Return a time in UTC. A later time than any clock can have written is invalid: a job would wait for it."""
        found: datetime = self._typed(column, datetime, default)
        if found > datetime.now(UTC) + MAX_AHEAD:
            raise InvalidColumn(f"the column {column} holds a time in the future, {found:%Y-%m-%d}")
        return found

    def data(self, column: str) -> bytes:
        """Return bytes; none without the column."""
        return bytes(self._typed(column, bytes, b""))

    def _typed(self, column: str, kind: Any, default: Any) -> Any:  # noqa: ANN401 - of the type `kind`
        value = self._values.get(column, default)
        value = value.value if isinstance(value, EntityProperty) else value
        if not isinstance(value, kind) or isinstance(value, bool):
            reason = "is missing" if column not in self._values else f"holds {str(value)[:60]!r}"
            raise InvalidColumn(f"the column {column} {reason}")
        return value


def int64(value: int) -> EntityProperty:
    """Return a 64-bit integer for a table; plain integers have 32 bits there."""
    return EntityProperty(value, EdmType.INT64)


def int64_value(stored: int | EntityProperty) -> int:
    """Return the integer of a table value; the inverse of `int64`."""
    return int(stored.value) if isinstance(stored, EntityProperty) else stored
