"""Quantization tables of our JPEG encoder.

Both tables are the one by Nicolas Robidoux that ImageMagick offers and mozjpeg uses by default. With it, photos need
fewer bytes than with the tables of the JPEG standard at the same SSIMULACRA2 score (docs/quality.md).
"""

from __future__ import annotations

from functools import lru_cache

_ROBIDOUX = (
    *(16, 16, 16, 18, 25, 37, 56, 85),
    *(16, 17, 20, 27, 34, 40, 53, 75),
    *(16, 20, 24, 31, 43, 62, 91, 135),
    *(18, 27, 31, 40, 53, 74, 106, 156),
    *(25, 34, 43, 53, 69, 94, 131, 189),
    *(37, 40, 62, 74, 94, 124, 169, 238),
    *(56, 53, 91, 106, 131, 169, 226, 311),
    *(85, 75, 135, 156, 189, 238, 311, 418),
)
"""Steps at quality 50, row by row."""

_MAX_STEP = 255
"""Baseline decoders read steps of 8 bits."""


@lru_cache(maxsize=16)
def quantization_tables(quality: int) -> tuple[list[int], list[int]]:
    """Return the tables for brightness and color at `quality` (1 to 100), scaled as libjpeg scales its own."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = [min(_MAX_STEP, max(1, (step * percent + 50) // 100)) for step in _ROBIDOUX]
    return table, table
