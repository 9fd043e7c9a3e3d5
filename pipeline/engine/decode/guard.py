"""Decoder guard: map every exception of a decoder to one EngineError, and hold decompression to the limits."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from .. import pil
from ..errors import EngineError
from ..protocol import Limits

MAX_METADATA_BYTES = 8 * 1024 * 1024
"""Largest decompressed profile or text of a PNG. Pillow's own limit of 1 MB rejects profiles of printers."""

_REJECTIONS = frozenset(
    ("cannot identify image file", "could not create decoder object", "not identified by this driver")
)
"""Messages of Pillow that only say that a decoder has rejected a file."""


@contextmanager
def map_decoder_errors(name: str) -> Iterator[None]:
    """Map every exception that Pillow raises while reading to an EngineError.

    This is the only place that knows Pillow's many exception classes.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", pil.Image.DecompressionBombWarning)
            yield
    except (EngineError, MemoryError):
        raise
    except (pil.Image.DecompressionBombWarning, pil.Image.DecompressionBombError) as error:
        numbers = re.search(r"\((\d+) pixels\)", str(error))
        raise too_many_pixels(int(numbers[1]) if numbers else 0, pil.Image.MAX_IMAGE_PIXELS or 0) from error
    except Exception as error:
        raise _decoder_error(name, error) from error


def too_many_pixels(pixels: int, limit: int) -> EngineError:
    """Build the error for an image found to be too large during decoding."""
    return EngineError(
        "too_many_pixels", f"the source, or one of its frames, decodes to {pixels:,} pixels; the limit is {limit:,}"
    )


def damaged(name: str, text: str) -> EngineError:
    """Build the error for damage in a source of the format `name`, described by `text`."""
    state = "truncated" if "truncated" in text or "unexpected end" in text.lower() else "damaged"
    return EngineError("damaged_image", f"the source is {state} ({name}: {text}): upload it again, or repair it")


def _decoder_error(name: str, error: Exception) -> EngineError:
    """Build the error for an exception of Pillow, from its text."""
    if "MAX_TEXT" in str(error):
        return EngineError(
            "damaged_image",
            f"the profile or texts of the source decompress to more than {MAX_METADATA_BYTES // 1024**2} MB ({name}): "
            "remove them from the file",
        )
    # Pillow's message names its file object, which means nothing to users.
    text = " ".join(re.sub(r"<_io\.[^>]*>", "", str(error)).split())[:200]
    return damaged(name, "the decoder rejects the file" if text in _REJECTIONS else text or type(error).__name__)


@contextmanager
def pixel_limit(limits: Limits) -> Iterator[None]:
    """Apply the limit of a job as Pillow's own pixel limit, so that it also holds for later decompression."""
    before = pil.Image.MAX_IMAGE_PIXELS
    pil.Image.MAX_IMAGE_PIXELS = limits["max_pixels"]
    try:
        yield
    finally:
        pil.Image.MAX_IMAGE_PIXELS = before


def allow_large_metadata() -> None:
    """Let Pillow read profiles and texts of a PNG up to `MAX_METADATA_BYTES`."""
    pil.PngImagePlugin.MAX_TEXT_CHUNK = MAX_METADATA_BYTES
