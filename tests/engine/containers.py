"""Containers of images, built part by part: PNG chunks, TIFF directories, BMP headers, HEIF boxes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

SIGNATURE = b"\x89PNG\r\n\x1a\n"

Chunk = tuple[bytes, bytes]
Tag = tuple[int, int, Sequence[int] | bytes]
"""Tag, type and values. Types: 1 byte, 2 text, 3 two bytes, 4 four bytes, 16 eight bytes."""


def chunk_of(kind: bytes, data: bytes, *, checksum: int | None = None) -> bytes:
    """Build a chunk, with its right checksum unless another is given."""
    value = zlib.crc32(kind + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", value)


def chunks_of(body: bytes) -> Iterator[Chunk]:
    """Yield the type and the data of each chunk of a PNG."""
    place = len(SIGNATURE)
    while place < len(body):
        (length,) = struct.unpack_from(">I", body, place)
        yield body[place + 4 : place + 8], body[place + 8 : place + 8 + length]
        place += length + 12


def png_of(*chunks: Chunk) -> bytes:
    """Join chunks to a PNG, with their right checksums."""
    return SIGNATURE + b"".join(chunk_of(*chunk) for chunk in chunks)


def interlaced(size: tuple[int, int], pixels: bytes) -> bytes:
    """Encode gray pixels as a PNG with Adam7 interlacing, which Pillow reads but does not write."""
    width, height = size
    rows = []
    for left, top, across, down in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        lines = range(top, height, down) if left < width else ()
        rows += [b"\0" + pixels[row * width + left : (row + 1) * width : across] for row in lines]
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)
    return png_of((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b""))


_FORMS = {1: "B", 2: "s", 3: "H", 4: "I", 13: "I", 16: "Q"}


def tiff_of(*directories: Sequence[Tag], data: bytes = b"", order: str = "<", big: bool = False) -> bytes:
    """Build a TIFF: the header, `data`, then the directories, each linked to the next.

    The data start at byte 8, in a BigTIFF at byte 16.
    """
    mark = b"II" if order == "<" else b"MM"
    count_form, link_form, header = ("Q", "Q", 16) if big else ("H", "I", 8)
    parts, place = [data], header + len(data)
    first = place
    for number, tags in enumerate(directories):
        size = struct.calcsize(order + count_form) + len(tags) * (20 if big else 12) + struct.calcsize(link_form)
        extra, entries = b"", b""
        for tag, kind, values in sorted(tags, key=lambda each: each[0]):
            packed = (
                values if isinstance(values, bytes) else struct.pack(f"{order}{len(values)}{_FORMS[kind]}", *values)
            )
            limit = struct.calcsize(link_form)
            stored = packed.ljust(limit, b"\0")
            if len(packed) > limit:
                stored = struct.pack(order + link_form, place + size + len(extra))
                extra += packed
            entries += struct.pack(order + "HH" + link_form, tag, kind, len(values)) + stored
        following = place + size + len(extra) if number + 1 < len(directories) else 0
        count = struct.pack(order + count_form, len(tags))
        parts += [count, entries, struct.pack(order + link_form, following), extra]
        place += size + len(extra)
    version = struct.pack(order + "HHHQ", 43, 8, 0, first) if big else struct.pack(order + "HI", 42, first)
    return mark + version + b"".join(parts)


def tiff_tags(size: tuple[int, int], *, start: int = 8, **changes: Sequence[int]) -> list[Tag]:
    """Return the tags of an RGB image of 8 bits in one strip at byte `start`. `changes` replace values by name."""
    width, height = size
    named: dict[str, tuple[int, int, Sequence[int]]] = {
        "width": (256, 4, [width]),
        "height": (257, 4, [height]),
        "bits": (258, 3, [8, 8, 8]),
        "compression": (259, 3, [1]),
        "color": (262, 3, [2]),
        "offset": (273, 4, [start]),
        "samples": (277, 3, [3]),
        "rows": (278, 4, [height]),
        "length": (279, 4, [width * height * 3]),
        "format": (339, 3, [1, 1, 1]),
    }
    return [(tag, kind, changes.get(name, values)) for name, (tag, kind, values) in named.items()]


def bmp_of(bits: int, data: bytes, *, size: tuple[int, int], compression: int = 0, header: int = 40) -> bytes:
    """Build a BMP with a header of this many bytes and no palette."""
    width, height = size
    body = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, compression, len(data), 2835, 2835, 0, 0)
    body = body.ljust(header, b"\0")[:header]
    start = 14 + len(body)
    return struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start) + body + data


def box(kind: bytes, *parts: bytes) -> bytes:
    """Build a box of an ISO base media file."""
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def heif_of(item: bytes, *properties: bytes, brand: bytes = b"mif1", others: tuple[bytes, ...] = ()) -> bytes:
    """Build an HEIF whose primary item has this type, without pixels that a decoder could read.

    `others` are the types of further items, such as thumbnails, which stand before the primary one.
    """
    kinds = [*enumerate(others, 2), (1, item)]
    entries = [box(b"infe", struct.pack(">IHH4s", 2 << 24, number, 0, kind), b"\0") for number, kind in kinds]
    infos = box(b"iinf", struct.pack(">IH", 0, len(entries)), *entries)
    primary = box(b"pitm", struct.pack(">IH", 0, 1))
    known = box(b"iprp", box(b"ipco", *properties))
    meta = box(b"meta", bytes(4), box(b"hdlr", bytes(8), b"pict", bytes(13)), primary, infos, known)
    return box(b"ftyp", brand, bytes(4), b"mif1", b"heic") + meta + box(b"mdat", bytes(300))
