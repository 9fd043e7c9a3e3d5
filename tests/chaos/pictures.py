"""What is dropped: pictures that are fine, each with renditions of its own, and files that are not."""

from __future__ import annotations

from tests.images import picture

GOOD = 24
# What becomes of a bad one: the kind of its failure. Fewer pixels than this are taken (see `scene.SETTINGS`).
MAX_PIXELS = 1_000_000
BAD = {"text": "not_an_image", "cut": "damaged_image", "empty": "empty_source", "bomb": "too_many_pixels"}


def pictures() -> dict[str, bytes]:
    """Every content that is ever dropped, by name."""
    good = {f"good-{number:02d}": picture(420 + 12 * number, 320, seed=number * 15) for number in range(GOOD)}
    bad = {
        "text": b"this is text, not a photo\n" * 40,
        "cut": picture()[:4000],
        "empty": b"",
        "bomb": picture(1200, 1000, "PNG"),
    }
    return good | bad
