"""Color profiles for the tests, built byte by byte, and color differences."""

from __future__ import annotations

import itertools

from PIL import Image, ImageCms


def display_p3() -> bytes:
    """Build a Display-P3 profile: primaries adapted to D50 (SMPTE EG 432-1, ICC.1:2022 F.3), with a gamma of 2.2."""
    curve = b"curv\0\0\0\0" + (1).to_bytes(4, "big") + round(2.2 * 256).to_bytes(2, "big") + b"\0\0"
    tags = {
        b"rXYZ": _xyz(0.51512, 0.24120, -0.00105),
        b"gXYZ": _xyz(0.29198, 0.69225, 0.04189),
        b"bXYZ": _xyz(0.15710, 0.06657, 0.78407),
        b"wtpt": _xyz(0.9642, 1.0, 0.8249),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    return _profile(b"mntrRGB XYZ ", tags)


def linear_gray() -> bytes:
    """Build a gray profile with linear light, far from sRGB."""
    tags = {b"wtpt": _xyz(0.9642, 1.0, 0.8249), b"kTRC": b"curv\0\0\0\0\0\0\0\0"}
    return _profile(b"mntrGRAYXYZ ", tags)


def dull_cmyk() -> bytes:
    """Build a CMYK profile of weak inks: a table (ICC.1:2022, 10.11, lut8Type) of the 16 full mixtures."""
    mixtures = bytearray()
    for cyan, magenta, yellow, key in itertools.product((0, 1), repeat=4):
        light = 0.25 if key else 1.0
        mixtures += bytes(round(255 * light * (1 - 0.6 * ink)) for ink in (cyan, magenta, yellow))
    corners = Image.frombytes("RGB", (16, 1), bytes(mixtures))
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(corners, to_lab)
    assert lab is not None
    # Pillow's LAB stores a and b as signed bytes; the profile counts them from 128.
    table = bytes(value if at % 3 == 0 else (value + 128) % 256 for at, value in enumerate(lab.tobytes()))
    same = bytes(range(256))
    matrix = b"".join(_fixed(value) for value in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    lut = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix + same * 4 + table + same * 3
    return _profile(b"prtrCMYKLab ", {b"A2B0": lut, b"wtpt": _xyz(0.9642, 1.0, 0.8249)})


def delta_e(one: Image.Image, other: Image.Image) -> float:
    """Return the largest color difference (CIE 1976) of two sRGB images."""
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    found = [ImageCms.applyTransform(image, to_lab) for image in (one, other)]
    first, second = [_signed(image.tobytes()) for image in found if image is not None]
    pairs = zip(zip(*[iter(first)] * 3, strict=True), zip(*[iter(second)] * 3, strict=True), strict=True)
    return max(_distance(a, b) for a, b in pairs)


def _signed(body: bytes) -> list[float]:
    """Convert Lab bytes to L from 0 to 100, and a and b from -128 to 127."""
    return [value * 100 / 255 if at % 3 == 0 else (value + 128) % 256 - 128 for at, value in enumerate(body)]


def _distance(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Return the Euclidean distance."""
    return float(sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5)


def _fixed(value: float) -> bytes:
    """Encode a s15Fixed16Number."""
    return round(value * 65536).to_bytes(4, "big", signed=True)


def _xyz(*values: float) -> bytes:
    """Encode an XYZ tag."""
    return b"XYZ \0\0\0\0" + b"".join(_fixed(value) for value in values)


def _profile(kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Build a version 2 profile (ICC.1:2001-04, 6.1 and 6.2): header, tag table, tags."""
    table, data, at = len(tags).to_bytes(4, "big"), b"", 128 + 4 + 12 * len(tags)
    for name, body in tags.items():
        padded = body + bytes(-len(body) % 4)
        table += name + (at + len(data)).to_bytes(4, "big") + len(body).to_bytes(4, "big")
        data += padded
    header = bytearray(128)
    header[0:4] = (128 + len(table) + len(data)).to_bytes(4, "big")
    header[8:12] = b"\x02\x40\0\0"
    header[12:24] = kind
    header[36:40] = b"acsp"
    header[68:80] = _fixed(0.9642) + _fixed(1.0) + _fixed(0.8249)
    return bytes(header) + table + data
