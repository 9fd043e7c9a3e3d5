"""Decoders at work: whatever they raise becomes one Refusal, and what they unpack is held to our limits."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from ..errors import EngineError
from ..protocol import Limits

MAX_METADATA_BYTES = 8 * 1024 * 1024
"""Bytes that a profile or a text of a PNG may unpack to. Pillow's own limit of 1 MB refuses profiles of printers."""


@contextmanager
def map_decoder_errors(name: str) -> Iterator[None]:
    """Whatever Pillow raises while it reads becomes one Refusal. The one place that knows its many classes."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (EngineError, MemoryError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        numbers = re.search(r"\((\d+) pixels\)", str(error))
        raise too_many_pixels(int(numbers[1]) if numbers else 0, Image.MAX_IMAGE_PIXELS or 0) from error
    except Exception as error:
        raise EngineError("damaged_image", _damage_message(name, error)) from error


def too_many_pixels(pixels: int, limit: int) -> EngineError:
    """What a picture that is too large is refused with, when it is found out while decoding."""
    text = f"the source, or a frame of it, unpacks to {pixels:,} pixels; the limit is {limit:,}"
    return EngineError("too_many_pixels", text)


def _damage_message(name: str, error: Exception) -> str:
    if "MAX_TEXT" in str(error):
        most = f"{MAX_METADATA_BYTES // 1024**2} MB"
        return f"the source's profile or texts unpack to more than {most} ({name}): take them out of the file"
    # Pillow names the file object that it was given, which nobody knows.
    text = " ".join(re.sub(r"<_io\.[^>]*>", "", str(error)).split())[:200] or type(error).__name__
    cut = "truncated" in text or "unexpected end" in text.lower()
    state = "cut short" if cut else "damaged"
    return f"the source is {state} ({name}: {text}): upload it again, or repair it"


@contextmanager
def _set_pixel_limit(limit: int | None) -> Iterator[None]:
    """Pillow's own limit set to `most` for a while."""
    from PIL import Image

    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = limit
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def pixel_limit(limits: Limits) -> AbstractContextManager[None]:
    """Pillow's own limit set to ours, so that what a decoder unpacks later is held to it too."""
    return _set_pixel_limit(limits["max_pixels"])


def allow_large_metadata() -> None:
    """Have Pillow read profiles and texts of a PNG up to `MOST_METADATA`."""
    from PIL import PngImagePlugin

    PngImagePlugin.MAX_TEXT_CHUNK = MAX_METADATA_BYTES
