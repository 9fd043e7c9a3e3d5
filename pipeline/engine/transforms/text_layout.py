"""Text layout: detect letters that a font lacks, and break lines."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from .. import pil

UNASSIGNED_LETTER = "\uffff"
"""A code point that no font has. Fonts draw the same box for it as for any missing letter."""

INVISIBLE_CATEGORIES = {"Cf", "Mn", "Zs"}
"""Unicode categories that may draw nothing: joiners, marks, spaces."""


def normalize_text(text: str) -> str:
    """Compose letters (NFC), convert all line ends to line feeds, and all kinds of spaces to spaces."""
    lines = unicodedata.normalize("NFC", text).splitlines()
    return "\n".join("".join(_spaced(letter) for letter in line) for line in lines)


def _spaced(letter: str) -> str:
    """Convert any space to a normal space, and a tab to four."""
    if letter == "\t":
        return "    "
    return " " if unicodedata.category(letter) == "Zs" else letter


def missing_letters(font: pil.ImageFont.FreeTypeFont, text: str) -> list[str]:
    """Return the letters that the font lacks, in order. For these it would draw a box, or nothing."""
    box = _drawn(font, UNASSIGNED_LETTER)
    letters = dict.fromkeys(text.replace("\n", ""))
    lacking = [each for each in letters if _drawn(font, each) == box]
    return [each for each in lacking if box[1] or unicodedata.category(each) not in INVISIBLE_CATEGORIES]


def _drawn(font: pil.ImageFont.FreeTypeFont, letter: str) -> tuple[tuple[int, int], bytes]:
    """Draw one letter; return size and pixels."""
    mask = font.getmask(letter)
    return mask.size, bytes(mask) if mask.getbbox() else b""


def wrap_lines(text: str, width: int, measure: Callable[[str], float]) -> str:
    """Break `text` into lines of at most `width`: between words, and inside longer words."""
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
    """Split a word into pieces that fit, each with at least one letter."""
    pieces = []
    while len(word) > 1 and measure(word) > width:
        most = next((count - 1 for count in range(2, len(word)) if measure(word[:count]) > width), len(word) - 1)
        # A combining mark stays with its letter.
        while most < len(word) and unicodedata.combining(word[most]):
            most += 1
        pieces.append(word[:most])
        word = word[most:]
    return [*pieces, word] if word else pieces
