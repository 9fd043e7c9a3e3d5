"""The best quality that keeps a file within a size, found in few encodes."""

from __future__ import annotations

import math
from collections.abc import Callable

from .errors import Refusal

MOST_ENCODES = 6
LOWEST = 5
"""Below this quality nobody recognises the picture."""

GOOD_ENOUGH = 0.95
"""A file of so much of what is allowed is not worth another encode."""

TYPICAL_SLOPE = math.log(12) / 75
"""How fast the logarithm of a file's size grows per step of quality, before anything is known of the picture."""


def best_quality(encode: Callable[[int], bytes], top: int, most: int) -> tuple[int, bytes]:
    """The highest quality up to `top` that was found to make at most `most` bytes, and the file.

    The size of a file grows about exponentially with quality, so each guess lies where the line through the logarithms
    of the two nearest known sizes meets `most`. The last encode goes to the lowest quality if nothing has fitted yet.
    """
    body = encode(top)
    if len(body) <= most:
        return top, body
    above, below, best = [(top, len(body))], (LOWEST - 1, 0), b""
    for left in range(MOST_ENCODES - 1, 0, -1):
        if above[-1][0] - below[0] <= 1 or len(best) >= most * GOOD_ENOUGH:
            break
        guess = LOWEST if left == 1 and not best else _guess(above, below if best else None, most)
        body = encode(guess)
        if len(body) <= most:
            below, best = (guess, len(body)), body
        else:
            above.append((guess, len(body)))
    if not best:
        raise Refusal(
            "max_bytes_impossible",
            f"at quality {above[-1][0]} the rendition still is {above[-1][1]:,} bytes, more than {most:,}: resize it",
        )
    return below[0], best


def _guess(above: list[tuple[int, int]], below: tuple[int, int] | None, most: int) -> int:
    """The next quality to try, strictly between what is too large and what fits."""
    quality, size = above[-1]
    known = below or (above[-2] if len(above) > 1 else None)
    slope = TYPICAL_SLOPE
    if known and known[1] != size:
        slope = max(1e-3, math.log(size / known[1]) / (quality - known[0]))
    aim = math.floor(quality - math.log(size / most) / slope)
    if below is None:
        # Too low is better than too high again: from then on the answer lies between two known sizes.
        return min(quality - 1, max(LOWEST, round(aim - (quality - aim) * 0.1)))
    margin = (quality - below[0]) * 0.15
    return min(quality - 1, max(below[0] + 1, round(min(quality - margin, max(below[0] + margin, aim)))))
