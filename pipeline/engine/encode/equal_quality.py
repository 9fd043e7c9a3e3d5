"""Quality values that look the same in different formats, for `auto` and `keep`.

Encoders number their qualities in different ways. With these values, the mean SSIMULACRA2 score of photos is near that
of our JPEG. `python -m benchmarks.quality.encoders --calibrate` measures them; docs/quality.md has the check on other
photos.
"""

from __future__ import annotations

from itertools import pairwise

_JPEG = (1, 40, 50, 65, 80, 90, 95, 100)
_EQUAL = {
    "webp": (1, 42, 54, 72, 83, 92, 99, 100),
    "avif": (1, 42, 45, 52, 61, 77, 89, 98),
}
"""The quality of each format that equals the quality of JPEG in the same place."""


def equal_quality(name: str, quality: int) -> int:
    """Return the quality of format `name` at which photos look as in our JPEG with `quality`.

    Values between the measured ones are interpolated.
    """
    for (low, first), (high, last) in pairwise(zip(_JPEG, _EQUAL[name], strict=True)):
        if quality <= high:
            return round(first + (last - first) * (quality - low) / (high - low))
    return _EQUAL[name][-1]
