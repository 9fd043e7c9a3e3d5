"""Quantization tables of our JPEG encoder.

mozjpeg has these tables as its second pair, tuned for MS-SSIM. With them, photos need fewer bytes than with the tables
of the JPEG standard at the same SSIMULACRA2 score (docs/quality.md).
"""

from __future__ import annotations

from functools import lru_cache

_LUMA = (
    *(12, 17, 20, 21, 30, 34, 56, 63),
    *(18, 20, 20, 26, 28, 51, 61, 55),
    *(19, 20, 21, 26, 33, 58, 69, 55),
    *(26, 26, 26, 30, 46, 87, 86, 66),
    *(31, 33, 36, 40, 46, 96, 100, 73),
    *(40, 35, 46, 62, 81, 100, 111, 91),
    *(46, 66, 76, 86, 102, 121, 120, 101),
    *(68, 90, 90, 96, 113, 102, 105, 103),
)
_CHROMA = (
    *(8, 12, 15, 15, 86, 96, 96, 98),
    *(13, 13, 15, 26, 90, 96, 99, 98),
    *(12, 15, 18, 96, 99, 99, 99, 99),
    *(17, 16, 90, 96, 99, 99, 99, 99),
    *(96, 96, 99, 99, 99, 99, 99, 99),
    *(99, 99, 99, 99, 99, 99, 99, 99),
    *(99, 99, 99, 99, 99, 99, 99, 99),
    *(99, 99, 99, 99, 99, 99, 99, 99),
)
"""Steps at quality 50, row by row."""

_MAX_STEP = 255
"""Baseline decoders read steps of 8 bits."""


@lru_cache(maxsize=16)
def quantization_tables(quality: int) -> tuple[list[int], list[int]]:
    """Return the tables for brightness and color at `quality` (1 to 100), scaled as libjpeg scales its own."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    luma, chroma = (
        [min(_MAX_STEP, max(1, (step * percent + 50) // 100)) for step in steps] for steps in (_LUMA, _CHROMA)
    )
    return luma, chroma
