"""Hostile images: a valid file of every allowed format and kind, and mutations of them, reproducible by seed."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

from PIL import Image, ImageCms

SIDES = (48, 36)
# Typical edge cases of sizes, counts and offsets.
EDGES = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32_767, 32_768, 65_535, 65_536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
PNG_HEAD = b"\x89PNG\r\n\x1a\n"
Mutation = Callable[[bytearray, random.Random], None]


def _colors(turn: int = 0) -> Image.Image:
    across = Image.linear_gradient("L").rotate(90 + turn).resize(SIDES)
    down = Image.radial_gradient("L").resize(SIDES)
    return Image.merge("RGB", (across, down, Image.blend(across, down, 0.5)))


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x8298] = 6, "a description", "a photographer"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    return exif


def _stills() -> Iterator[tuple[str, bytes]]:
    photo, profile = _colors(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    translucent = photo.copy()
    translucent.putalpha(Image.radial_gradient("L").resize(SIDES))
    deep = Image.frombytes("I;16", SIDES, bytes(range(256)) * (SIDES[0] * SIDES[1] * 2 // 256 + 1))
    yield "plain.jpg", _saved(photo, "JPEG")
    yield "progressive.jpg", _saved(photo, "JPEG", progressive=True, exif=_exif(), icc_profile=profile)
    yield "cmyk.jpg", _saved(photo.convert("CMYK"), "JPEG", icc_profile=profile)
    yield "gray.jpg", _saved(photo.convert("L"), "JPEG", restart_marker_blocks=2)
    yield "camera.jpg", _saved(photo, "MPO", save_all=True, append_images=[_colors(9)])
    yield "plain.png", _saved(photo, "PNG", exif=_exif(), icc_profile=profile)
    yield "alpha.png", _saved(translucent, "PNG")
    yield "palette.png", _saved(photo.quantize(16), "PNG", transparency=3)
    yield "bits.png", _saved(photo.convert("1"), "PNG")
    yield "deep.png", _saved(deep, "PNG")
    yield "plain.webp", _saved(photo, "WEBP", exif=_exif(), icc_profile=profile)
    yield "lossless.webp", _saved(translucent, "WEBP", lossless=True)
    yield "plain.gif", _saved(photo.quantize(32), "GIF", transparency=0)
    yield "plain.avif", _saved(photo, "AVIF", speed=10, exif=_exif())
    yield "alpha.avif", _saved(translucent, "AVIF", speed=10)
    yield "plain.bmp", _saved(photo, "BMP")
    yield "palette.bmp", _saved(photo.quantize(16), "BMP")
    for packing in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield f"{packing}.tiff", _saved(photo, "TIFF", compression=packing, icc_profile=profile)
    yield "fax.tiff", _saved(photo.convert("1"), "TIFF", compression="group4")
    yield "cmyk.tiff", _saved(photo.convert("CMYK"), "TIFF", compression="tiff_lzw")
    yield "deep.tiff", _saved(deep, "TIFF")
    yield "float.tiff", _saved(photo.convert("F"), "TIFF")


def _animations() -> Iterator[tuple[str, bytes]]:
    frames = [_colors(40 * number) for number in range(4)]
    for form in ("GIF", "WEBP", "PNG", "AVIF", "TIFF"):
        options = {"speed": 10} if form == "AVIF" else {}
        yield (
            f"moving.{form.lower()}",
            _saved(frames[0], form, save_all=True, append_images=frames[1:], duration=80, **options),
        )


@cache
def seeds() -> dict[str, bytes]:
    """Return valid files by name. HEIC is included if its encoder is installed."""
    files = dict([*_stills(), *_animations()])
    with suppress(ImportError, OSError, KeyError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
        files["plain.heic"] = _saved(_colors(), "HEIF")
    return files


def _flip(body: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 8)):
        body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)


def _number(body: bytearray, rng: random.Random) -> None:
    """Overwrite a number, which may be a size, a count or an offset."""
    form = rng.choice(("B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(form)
    if len(body) > size:
        at = rng.randrange(min(len(body) - size, rng.choice((64, 256, 1 << 20))))
        struct.pack_into(form, body, at, rng.choice(EDGES) & ((1 << 8 * size) - 1))


def _cut(body: bytearray, rng: random.Random) -> None:
    del body[rng.randrange(len(body)) :]


def _drop(body: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(body))
    del body[at : at + rng.randint(1, 64)]


def _repeat(body: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(body))
    part = body[at : at + rng.randint(1, 200)]
    body[at:at] = part * rng.choice((1, 2, 50))


def _insert(body: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(body))
    body[at:at] = rng.choice((rng.randbytes(16), bytes(64), b"\xff" * 64))


def _splice(body: bytearray, rng: random.Random) -> None:
    """Join the start of this file and the end of another."""
    other = rng.choice(list(seeds().values()))
    body[rng.randrange(min(len(body), 200)) :] = other[rng.randrange(len(other)) :]


def _disguise(body: bytearray, rng: random.Random) -> None:
    """Overwrite the first bytes with those of another format."""
    other = rng.choice(list(seeds().values()))
    count = rng.choice((4, 12, 32))
    body[:count] = other[:count]


MUTATIONS: tuple[Mutation, ...] = (
    _flip,
    _flip,
    _number,
    _number,
    _number,
    _cut,
    _drop,
    _repeat,
    _insert,
    _splice,
    _disguise,
)


def mutated(body: bytes, rng: random.Random) -> bytes:
    """Apply one to three mutations. 70 % of the PNGs get correct checksums again, so that decoders read on."""
    broken = bytearray(body)
    for _ in range(rng.randint(1, 3)):
        if broken:
            rng.choice(MUTATIONS)(broken, rng)
    result = bytes(broken)
    return with_checksums(result) if result.startswith(PNG_HEAD) and rng.random() < 0.7 else result


def with_checksums(png: bytes) -> bytes:
    """Correct the checksums of a PNG's chunks. Bytes outside of chunks stay."""
    parts, at = [png[:8]], 8
    while at + 12 <= len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        if at + 12 + length > len(png):
            break
        chunk = png[at + 4 : at + 8 + length]
        parts.append(png[at : at + 4] + chunk + zlib.crc32(chunk).to_bytes(4, "big"))
        at += 12 + length
    return b"".join([*parts, png[at:]])


def generated(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes of `count` broken files. A name contains that of the valid file it was made from."""
    rng = random.Random(seed)
    names = sorted(seeds())
    for number in range(count):
        name = names[number % len(names)]
        yield f"{number:05d}-{name}", mutated(seeds()[name], rng)
