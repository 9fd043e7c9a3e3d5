"""How many frames or pages an image has, counted without decoding one and without going on past the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from PIL import Image


def count_frames(image: Image.Image, stream: BinaryIO, limit: int) -> int:
    """The number of frames of an opened image, or `most` + 1 as soon as there are more."""
    if image.format == "GIF":
        return count_gif_frames(stream, limit)
    if image.format == "TIFF":
        return _count_by_seeking(image, limit)
    # PNG, WebP and AVIF declare it in their headers. Further pictures in a camera's JPEG (MPO) are not frames of it.
    frames: int = getattr(image, "n_frames", 1)
    return 1 if image.format == "MPO" else frames


def _count_by_seeking(image: Image.Image, limit: int) -> int:
    """Pages of a TIFF: each is found through the one before, and seeking decodes nothing."""
    try:
        for number in range(1, limit + 1):
            image.seek(number)
    except EOFError:
        return number
    finally:
        image.seek(0)
    return limit + 1


def count_gif_frames(stream: BinaryIO, limit: int) -> int:
    """Image blocks of a GIF (GIF89a, 20 and following): the blocks are skipped, nothing is unpacked.

    Pillow counts by setting up each frame, which takes seconds for a file that holds a hundred thousand of them.
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
            continue  # stray bytes between blocks are passed over, as decoders do
        _skip_blocks(stream)
    stream.seek(place)
    return max(1, frames)


def _skip_palette(stream: BinaryIO, packed: int) -> None:
    if packed & 0x80:
        stream.seek(3 << ((packed & 7) + 1), 1)


def _skip_blocks(stream: BinaryIO) -> None:
    while size := stream.read(1):
        if size == b"\x00":
            return
        stream.seek(size[0], 1)
