"""Contents of the uploads: valid images, each with unique renditions, and invalid files."""

from __future__ import annotations

import re
import zlib

from tests.images import image_bytes

GOOD = 24
# Failure kinds of the invalid files. The pixel limit is lower than this (see `scene.SETTINGS`).
MAX_PIXELS = 1_000_000
BAD = {"text": "not_an_image", "cut": "damaged_image", "empty": "empty_source", "bomb": "too_many_pixels"}

MARK = re.compile(rb"chaos-mark:([^;]{1,200});")


def pictures(count: int = GOOD) -> dict[str, bytes]:
    """Return every content by name: `count` valid ones, and the invalid ones."""
    good = {f"good-{number:02d}": image_bytes(420 + 12 * number, 320, seed=number * 15) for number in range(count)}
    bad = {
        "text": b"this is text, not a photo\n" * 40,
        "cut": image_bytes()[:4000],
        "empty": b"",
        "bomb": image_bytes(1200, 1000, "PNG"),
    }
    return good | bad


def marked(data: bytes, mark: str) -> bytes:
    """Return the image with a unique remark in it; an empty file remains empty."""
    remark = f"chaos-mark:{mark};".encode()
    if data.startswith(b"\xff\xd8"):
        return data[:2] + b"\xff\xfe" + (len(remark) + 2).to_bytes(2, "big") + remark + data[2:]
    if data.startswith(b"\x89PNG"):
        chunk = b"tEXtComment\0" + remark
        # After the signature and the header, which have 33 bytes.
        return (
            data[:33] + (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[33:]
        )
    return data + remark if data else data
