"""Frame counting: count frames or pages without decoding them, and stop at the limit."""

from __future__ import annotations

from typing import BinaryIO

from .. import pil


def count_frames(image: pil.Image.Image, stream: BinaryIO, limit: int) -> int:
    """Count the frames of an opened image. Return `limit` + 1 as soon as there are more than `limit`."""
    if image.format == "GIF":
        return count_gif_frames(stream, limit)
    if image.format == "TIFF":
        return _count_by_seeking(image, limit)
    # PNG, WebP and AVIF declare it in their headers.
    frames: int = getattr(image, "n_frames", 1)
    return frames


def _count_by_seeking(image: pil.Image.Image, limit: int) -> int:
    """Count the pages of a TIFF: each page links to the next, and seeking decodes nothing."""
    try:
        for number in range(1, limit + 1):
            image.seek(number)
    except EOFError:
        return number
    finally:
        image.seek(0)
    return limit + 1


def count_gif_frames(stream: BinaryIO, limit: int) -> int:
    """Count the image blocks of a GIF (GIF89a, 20 and following) by skipping blocks, without decompression.

    Pillow counts by preparing each frame, which takes seconds for a file with 100,000 frames.
    """
    frames, place = 0, stream.tell()
    stream.seek(0)
    header = stream.read(13)
    _skip_palette(stream, header[10] if len(header) == 13 else 0)
    while frames <= limit:
        kind = stream.read(1)
        if kind == b"!":
            stream.read(1)
        elif kind == b",":
            frames += 1
            descriptor = stream.read(9)
            _skip_palette(stream, descriptor[8] if len(descriptor) == 9 else 0)
            stream.read(1)
        elif kind in (b"", b";"):
            break
        else:
            continue  # skip stray bytes between blocks, as decoders do
        _skip_blocks(stream)
    stream.seek(place)
    return max(1, frames)


def _skip_palette(stream: BinaryIO, packed: int) -> None:
    """Skip a color table, if the packed field declares one."""
    if packed & 0x80:
        stream.seek(3 << ((packed & 7) + 1), 1)


def _skip_blocks(stream: BinaryIO) -> None:
    """Skip data sub-blocks up to their terminator."""
    while size := stream.read(1):
        if size == b"\x00":
            return
        stream.seek(size[0], 1)
