"""Constraints on parameters, as markers for `typing.Annotated`.

Inside a session the parameter classes are plain dataclasses and the markers have no effect, since the host has
validated the values. On the host, pydantic finds the two methods by name and builds validation and JSON Schema from
them. This module therefore needs no pydantic.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

MAX_SIDE = 16_383
"""Longest side in pixels that a recipe can request: the limit of WebP (RFC 9649, 2.7: 14 bits)."""


@dataclass(frozen=True)
class Range:
    """Limit a number to `minimum` through `maximum`, both included."""

    minimum: float
    maximum: float

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Add the limits to pydantic's schema."""
        return {**handler(source), "ge": self.minimum, "le": self.maximum}


@dataclass(frozen=True)
class ItemCount:
    """Limit a list to `minimum` through `maximum` items."""

    minimum: int
    maximum: int

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Add the limits to pydantic's schema."""
        return {**handler(source), "min_length": self.minimum, "max_length": self.maximum}


@dataclass(frozen=True)
class StringRule:
    """Limit a string to `max_length` characters that match `pattern`. `message` states the rule for users."""

    message: str
    pattern: str | None = None
    max_length: int = 1000

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Add the check to pydantic's schema."""
        check = {"type": "no-info", "function": self.check}
        return {"type": "function-after", "function": check, "schema": handler(source)}

    def __get_pydantic_json_schema__(self, core: Any, handler: Callable[[Any], Any]) -> Any:
        """Add pattern and length to the JSON Schema."""
        return {**handler(core), "maxLength": self.max_length} | ({"pattern": self.pattern} if self.pattern else {})

    def check(self, value: str) -> str:
        """Return `value` when it follows the rule.

        Raises:
            ValueError: it does not; the text is for the author of the recipe.
        """
        fits = len(value) <= self.max_length and (not self.pattern or re.fullmatch(self.pattern.strip("^$"), value))
        if not fits:
            raise ValueError(f"{self.message}, not {value[:40]!r}")
        return value


@dataclass(frozen=True)
class Help:
    """Describe a parameter in one line, for the documentation."""

    text: str

    def __get_pydantic_json_schema__(self, core: Any, handler: Callable[[Any], Any]) -> Any:
        """Add the description to the JSON Schema."""
        return {**handler(core), "description": self.text}


NAMED_COLORS = {
    "transparent": "#00000000",
    "white": "#ffffff",
    "black": "#000000",
    "gray": "#808080",
    "silver": "#c0c0c0",
    "red": "#ff0000",
    "green": "#008000",
    "blue": "#0000ff",
    "yellow": "#ffff00",
    "orange": "#ffa500",
    "navy": "#000080",
    "teal": "#008080",
}
_COLOR = "#[0-9a-fA-F]{3}|#[0-9a-fA-F]{6}|#[0-9a-fA-F]{8}|" + "|".join(NAMED_COLORS)
_LENGTH = r"(100|\d{1,2}(\.\d+)?)%"

Side = Annotated[int, Range(1, MAX_SIDE)]
Fraction = Annotated[float, Range(0, 1)]
Color = Annotated[
    str, StringRule("a color is #rgb, #rrggbb, #rrggbbaa or one of: " + ", ".join(NAMED_COLORS), f"^({_COLOR})$")
]
Asset = Annotated[
    str,
    StringRule(
        "an asset is the name of a blob, like brand/logo.png, without the parts '.' and '..'",
        # HTTP clients resolve such parts of a URL: the name would point to a blob in another container.
        r"^(?!(.*/)?\.\.?(/|$))[A-Za-z0-9_][A-Za-z0-9_. /-]*$",
        max_length=200,
    ),
]
Length = (
    Annotated[int, Range(0, 1_000_000)]
    | Annotated[str, StringRule('a length is a number of pixels, or a percentage like "25%"', f"^{_LENGTH}$")]
)


def rgba(color: str) -> tuple[int, int, int, int]:
    """Convert a color to red, green, blue and alpha, each from 0 to 255. A color without alpha digits is opaque.

    Example:
        >>> rgba("#f00")
        (255, 0, 0, 255)
    """
    digits = NAMED_COLORS.get(color, color).removeprefix("#")
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    red, green, blue, alpha = bytes.fromhex(digits.ljust(8, "f"))
    return red, green, blue, alpha


def to_pixels(length: int | str, whole: int) -> int:
    """Convert a length to pixels: an integer is returned as is, a percentage is taken of `whole` and rounded.

    Example:
        >>> to_pixels("25%", 400)
        100
    """
    if isinstance(length, int):
        return length
    return round(float(length.removesuffix("%")) * whole / 100)
