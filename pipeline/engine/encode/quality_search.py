"""Quality search: find the best quality that keeps a file within a size, in few encodes."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..errors import EngineError

MAX_ENCODES = 6
MIN_QUALITY = 5
"""Below this quality the image is not recognizable."""

ACCEPTED_FRACTION = 0.95
"""A file of at least this fraction of the allowed size ends the search."""

INITIAL_SLOPE = math.log(12) / 75
"""Growth of the logarithm of the file size per step of quality, assumed before the image is known."""


def find_quality(encode: Callable[[int], bytes], max_quality: int, max_bytes: int) -> tuple[int, bytes]:
    """Find a quality up to `max_quality` whose file has at most `max_bytes` bytes, near the highest. Return both.

    File size grows about exponentially with quality. Each guess is therefore the point where the line through the
    logarithms of the two nearest known sizes meets `max_bytes`. If nothing fits, the last encode uses the lowest
    quality.

    Raises:
        EngineError: no quality makes the file small enough.
    """
    body = encode(max_quality)
    if len(body) <= max_bytes:
        return max_quality, body
    above, below, best = [(max_quality, len(body))], (MIN_QUALITY - 1, 0), b""
    for left in range(MAX_ENCODES - 1, 0, -1):
        if above[-1][0] - below[0] <= 1 or len(best) >= max_bytes * ACCEPTED_FRACTION:
            break
        guess = MIN_QUALITY if left == 1 and not best else _guess(above, below if best else None, max_bytes)
        body = encode(guess)
        if len(body) <= max_bytes:
            below, best = (guess, len(body)), body
        else:
            above.append((guess, len(body)))
    if not best:
        raise EngineError(
            "max_bytes_impossible",
            f"at quality {above[-1][0]} the rendition has {above[-1][1]:,} bytes, more than {max_bytes:,}: resize it",
        )
    return below[0], best


def _guess(above: list[tuple[int, int]], below: tuple[int, int] | None, max_bytes: int) -> int:
    """Return the next quality to try, strictly between one that is too large and one that fits."""
    quality, size = above[-1]
    known = below or (above[-2] if len(above) > 1 else None)
    slope = INITIAL_SLOPE
    if known and known[1] != size:
        slope = max(1e-3, math.log(size / known[1]) / (quality - known[0]))
    aim = math.floor(quality - math.log(size / max_bytes) / slope)
    if below is None:
        # Prefer too low over too high: from then on the result lies between two known sizes. The least distance doubles
        # with each file that is too large, because a steep line would go on in steps of one.
        return min(quality - 1, max(MIN_QUALITY, round(quality - max((quality - aim) * 1.1, 2.0 ** len(above)))))
    # Each guess also narrows the range: sizes of AVIF jump, and a line across a jump misses by far.
    margin = (quality - below[0]) * 0.35
    return min(quality - 1, max(below[0] + 1, round(min(quality - margin, max(below[0] + margin, aim)))))
