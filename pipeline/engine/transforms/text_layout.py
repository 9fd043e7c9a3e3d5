"""Letters before they are drawn: which of them a font has, and where lines break."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageFont

UNASSIGNED_LETTER = "\uffff"
"""A code point that no font has: what is drawn for it is what a font draws for any letter that it lacks."""

INVISIBLE_CATEGORIES = {"Cf", "Mn", "Zs"}
"""Categories of Unicode of which nothing need be seen: joiners, marks, spaces."""


def normalize_text(text: str) -> str:
    """`text` with letters in one piece, every kind of line end as a line feed, and every kind of space as a space."""
    lines = unicodedata.normalize("NFC", text).splitlines()
    return "\n".join("".join(_spaced(letter) for letter in line) for line in lines)


def _spaced(letter: str) -> str:
    if letter == "\t":
        return "    "
    return " " if unicodedata.category(letter) == "Zs" else letter


def missing_letters(font: ImageFont.FreeTypeFont, text: str) -> list[str]:
    """The letters that the font lacks, in their order: it would draw a box for each, or nothing."""
    box = _drawn(font, UNASSIGNED_LETTER)
    letters = dict.fromkeys(text.replace("\n", ""))
    return [each for each in letters if _drawn(font, each) == box and (box[1] or not _may_be_invisible(each))]


def _drawn(font: ImageFont.FreeTypeFont, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask) if mask.getbbox() else b""


def _may_be_invisible(letter: str) -> bool:
    return unicodedata.category(letter) in INVISIBLE_CATEGORIES


def wrap_lines(text: str, width: int, measure: Callable[[str], float]) -> str:
    """`text` broken into lines of at most `width`: between words, and inside those that are longer."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}" if line else word
            if line and measure(longer) > width:
                lines.append(line)
                longer = word
            *full, line = _split_word(longer, width, measure)
            lines += full
        lines.append(line)
    return "\n".join(lines)


def _split_word(word: str, width: int, measure: Callable[[str], float]) -> list[str]:
    """A word in pieces that fit, of one letter at least."""
    pieces = []
    while len(word) > 1 and measure(word) > width:
        most = next((count - 1 for count in range(2, len(word)) if measure(word[:count]) > width), len(word) - 1)
        # A mark stays with the letter that it stands on.
        while most < len(word) and unicodedata.combining(word[most]):
            most += 1
        pieces.append(word[:most])
        word = word[most:]
    return [*pieces, word] if word else pieces
