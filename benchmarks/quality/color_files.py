"""Files that declare their color space in different ways, made from samples."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence

from PIL import Image

Samples = Sequence[tuple[int, int, int]]

CHROMATICITIES = {
    "sRGB": (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
    "P3": (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    "BT.2020": (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    "Adobe RGB": (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06),
}
"""White, red, green, blue: x and y."""

_TO_D50 = {
    "sRGB": ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)),
    "P3": ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
    "BT.2020": ((0.67348, 0.27904, -0.00194), (0.16566, 0.67534, 0.02998), (0.12505, 0.04561, 0.79685)),
    "Adobe RGB": ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
}
"""XYZ of red, green and blue, adapted to D50, as published profiles of these spaces have them."""


def chunk(name: bytes, data: bytes) -> bytes:
    """Build a PNG chunk."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(size: tuple[int, int], samples: Samples, *chunks: bytes, depth: int = 8) -> bytes:
    """Build a PNG of RGB samples of 8 or 16 bits, with chunks before the pixels."""
    flat = [value for sample in samples for value in sample]
    width = size[0] * 3
    rows = (flat[at : at + width] for at in range(0, len(flat), width))
    body = b"".join(b"\0" + (bytes(row) if depth == 8 else struct.pack(f">{width}H", *row)) for row in rows)
    header = chunk(b"IHDR", struct.pack(">2I5B", *size, depth, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def cicp(primaries: int, transfer: int, matrix: int = 0, full: int = 1) -> bytes:
    """Build a cICP chunk."""
    return chunk(b"cICP", bytes((primaries, transfer, matrix, full)))


def gama(gamma: int) -> bytes:
    """Build a gAMA chunk from the exponent in 1/100,000."""
    return chunk(b"gAMA", struct.pack(">I", gamma))


def chrm(primaries: str) -> bytes:
    """Build a cHRM chunk."""
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in CHROMATICITIES[primaries])))


def clli(peak: float, average: float = 0.0) -> bytes:
    """Build a cLLI chunk from luminances in cd/m²."""
    return chunk(b"cLLI", struct.pack(">2I", round(peak * 10_000), round(average * 10_000)))


def mdcv(peak: float) -> bytes:
    """Build an mDCV chunk of a BT.2020 display."""
    colors = struct.pack(">8H", 35400, 14600, 8500, 39850, 6550, 2300, 15635, 16450)
    return chunk(b"mDCV", colors + struct.pack(">2I", round(peak * 10_000), 1))


def image_of(size: tuple[int, int], samples: Samples) -> Image.Image:
    """Draw an image of 8-bit samples."""
    return Image.frombytes("RGB", size, bytes(value for sample in samples for value in sample))


def avif(image: Image.Image, primaries: int = 1, transfer: int = 13, *boxes: bytes, **options: object) -> bytes:
    """Encode an AVIF whose nclx box has these code points, with more properties of the image."""
    packed = io.BytesIO()
    image.save(packed, "AVIF", **{"quality": 100, "subsampling": "4:4:4", "speed": 10, **options})
    body = packed.getvalue()
    for written in (1, 13), (2, 2):  # Pillow writes the second pair beside a profile
        body = body.replace(_nclx(*written), _nclx(primaries, transfer))
    for box in boxes:
        body = add_property(body, box)
    return body


def _nclx(primaries: int, transfer: int) -> bytes:
    """Build the start of a colr box."""
    return b"colrnclx" + struct.pack(">2H", primaries, transfer)


def box(name: bytes, body: bytes) -> bytes:
    """Build an ISO box."""
    return struct.pack(">I", 8 + len(body)) + name + body


def add_property(body: bytes, added: bytes) -> bytes:
    """Add a property to the first item of an AVIF or HEIF file with one `ipco` and one short `ipma` box."""
    at = body.index(b"ipco") - 4
    (length,) = struct.unpack_from(">I", body, at)
    essential = 0x80 if added[4:8] in (b"clap", b"irot", b"imir") else 0
    number = _count(body[at + 8 : at + length]) + 1
    table = body.index(b"ipma", at) - 4
    (table_length,) = struct.unpack_from(">I", body, table)
    entry = table + 8 + 4 + 4 + 2
    count = body[entry]
    grown = bytearray(body[:table] + struct.pack(">I", table_length + 1) + body[table + 4 : entry])
    grown += bytes((count + 1,)) + body[entry + 1 : entry + 1 + count] + bytes((number | essential,))
    grown += body[entry + 1 + count :]
    made = bytes(grown[: at + length]) + added + bytes(grown[at + length :])
    more = len(added) + 1
    for name, more_here in ((b"ipco", len(added)), (b"iprp", more), (b"meta", more)):
        place = made.index(name) - 4
        made = (
            made[:place] + struct.pack(">I", struct.unpack_from(">I", made, place)[0] + more_here) + made[place + 4 :]
        )
    return _moved(made, more)


def _count(boxes: bytes) -> int:
    """Count boxes side by side."""
    number = at = 0
    while at < len(boxes):
        at, number = at + struct.unpack_from(">I", boxes, at)[0], number + 1
    return number


def _moved(body: bytes, more: int) -> bytes:
    """Move the offsets in a simple `iloc` box (4-byte offsets and lengths, one extent for each item)."""
    at = body.index(b"iloc") + 4
    version, made = body[at], bytearray(body)
    sizes, base = body[at + 4], body[at + 5] >> 4
    (count,) = struct.unpack_from(">H", body, at + 6)
    place = at + 8
    for _ in range(count):
        place += 2 + (2 if version else 0) + 2
        extents_at = place + base
        (extents,) = struct.unpack_from(">H", body, extents_at)
        first = extents_at + 2
        if base == 4:
            struct.pack_into(">I", made, place, struct.unpack_from(">I", body, place)[0] + more)
        else:
            struct.pack_into(">I", made, first, struct.unpack_from(">I", body, first)[0] + more)
        place = first + extents * ((sizes >> 4) + (sizes & 15))
    return bytes(made)


def heif(image: Image.Image, primaries: int = 1, transfer: int = 13, **options: object) -> bytes:
    """Encode a HEIF without loss of samples, with these code points."""
    import pillow_heif

    packed = io.BytesIO()
    pillow_heif.from_pillow(image).save(
        packed,
        **{
            "quality": 100,
            "chroma": 444,
            "color_primaries": primaries,
            "transfer_characteristics": transfer,
            **options,
        },
    )
    return packed.getvalue()


def heif16(size: tuple[int, int], samples: Samples, primaries: int, transfer: int) -> bytes:
    """Encode 16-bit samples as a HEIF of 10 bits."""
    import pillow_heif

    packed, body = (
        io.BytesIO(),
        struct.pack(f"<{3 * len(samples)}H", *(value for sample in samples for value in sample)),
    )
    made = pillow_heif.from_bytes("RGB;16", size, body)
    made.save(
        packed,
        quality=100,
        chroma=444,
        color_primaries=primaries,
        transfer_characteristics=transfer,
        matrix_coefficients=9,
    )
    return packed.getvalue()


def profile(primaries: str, decode: Callable[[float], float]) -> bytes:
    """Build a version 2 profile with the curve as a table of 1,024 entries."""
    levels = [round(65535 * min(decode(i / 1023), 1.0)) for i in range(1024)]
    curve = b"curv\0\0\0\0" + struct.pack(">I1024H", 1024, *levels)
    tags = {b"wtpt": _xyz((0.9642, 1.0, 0.8249)), **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)}
    tags |= dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(_xyz, _TO_D50[primaries]), strict=True))
    table, data, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, body in tags.items():
        table += name + struct.pack(">II", start + len(data), len(body))
        data += body + bytes(-len(body) % 4)
    head = struct.pack(">I4x4s12s", start + len(data), b"\x02\x40\0\0", b"mntrRGB XYZ ") + bytes(12) + b"acsp"
    white = b"".join(struct.pack(">i", round(value * 65536)) for value in (0.9642, 1.0, 0.8249))
    return head.ljust(68, b"\0") + white + bytes(48) + table + data


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)
