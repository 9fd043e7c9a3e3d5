"""Images for a bad day: one file of every allowed format and kind, and mutations of them, repeatable by seed."""

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
# Numbers at which sizes, counts and offsets tend to break.
EDGES = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32_767, 32_768, 65_535, 65_536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
PNG_HEAD = b"\x89PNG\r\n\x1a\n"
Mutation = Callable[[bytearray, random.Random], None]


def _colours(turn: int = 0) -> Image.Image:
    across = Image.linear_gradient("L").rotate(90 + turn).resize(SIDES)
    down = Image.radial_gradient("L").resize(SIDES)
    return Image.merge("RGB", (across, down, Image.blend(across, down, 0.5)))


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    packed = io.BytesIO()
    image.save(packed, form, **options)
    return packed.getvalue()


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x8298] = 6, "a description", "somebody"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    return exif


def _stills() -> Iterator[tuple[str, bytes]]:
    photo, profile = _colours(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    see_through = photo.copy()
    see_through.putalpha(Image.radial_gradient("L").resize(SIDES))
    deep = Image.frombytes("I;16", SIDES, bytes(range(256)) * (SIDES[0] * SIDES[1] * 2 // 256 + 1))
    yield "plain.jpg", _saved(photo, "JPEG")
    yield "progressive.jpg", _saved(photo, "JPEG", progressive=True, exif=_exif(), icc_profile=profile)
    yield "cmyk.jpg", _saved(photo.convert("CMYK"), "JPEG", icc_profile=profile)
    yield "gray.jpg", _saved(photo.convert("L"), "JPEG", restart_marker_blocks=2)
    yield "camera.jpg", _saved(photo, "MPO", save_all=True, append_images=[_colours(9)])
    yield "plain.png", _saved(photo, "PNG", exif=_exif(), icc_profile=profile)
    yield "alpha.png", _saved(see_through, "PNG")
    yield "palette.png", _saved(photo.quantize(16), "PNG", transparency=3)
    yield "bits.png", _saved(photo.convert("1"), "PNG")
    yield "deep.png", _saved(deep, "PNG")
    yield "plain.webp", _saved(photo, "WEBP", exif=_exif(), icc_profile=profile)
    yield "lossless.webp", _saved(see_through, "WEBP", lossless=True)
    yield "plain.gif", _saved(photo.quantize(32), "GIF", transparency=0)
    yield "plain.avif", _saved(photo, "AVIF", speed=10, exif=_exif())
    yield "alpha.avif", _saved(see_through, "AVIF", speed=10)
    yield "plain.bmp", _saved(photo, "BMP")
    yield "palette.bmp", _saved(photo.quantize(16), "BMP")
    for packing in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield f"{packing}.tiff", _saved(photo, "TIFF", compression=packing, icc_profile=profile)
    yield "fax.tiff", _saved(photo.convert("1"), "TIFF", compression="group4")
    yield "cmyk.tiff", _saved(photo.convert("CMYK"), "TIFF", compression="tiff_lzw")
    yield "deep.tiff", _saved(deep, "TIFF")
    yield "float.tiff", _saved(photo.convert("F"), "TIFF")


def _moving() -> Iterator[tuple[str, bytes]]:
    frames = [_colours(40 * number) for number in range(4)]
    for form in ("GIF", "WEBP", "PNG", "AVIF", "TIFF"):
        options = {"speed": 10} if form == "AVIF" else {}
        yield (
            f"moving.{form.lower()}",
            _saved(frames[0], form, save_all=True, append_images=frames[1:], duration=80, **options),
        )


@cache
def seeds() -> dict[str, bytes]:
    """Good files by name. HEIC only where there is an encoder for it."""
    found = dict([*_stills(), *_moving()])
    with suppress(ImportError, OSError, KeyError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
        found["plain.heic"] = _saved(_colours(), "HEIF")
    return found


def _flip(body: bytearray, random_: random.Random) -> None:
    for _ in range(random_.randint(1, 8)):
        body[random_.randrange(len(body))] ^= 1 << random_.randrange(8)


def _number(body: bytearray, random_: random.Random) -> None:
    """A size, a count or an offset becomes another one."""
    form = random_.choice(("B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(form)
    if len(body) > size:
        at = random_.randrange(min(len(body) - size, random_.choice((64, 256, 1 << 20))))
        struct.pack_into(form, body, at, random_.choice(EDGES) & ((1 << 8 * size) - 1))


def _cut(body: bytearray, random_: random.Random) -> None:
    del body[random_.randrange(len(body)) :]


def _drop(body: bytearray, random_: random.Random) -> None:
    at = random_.randrange(len(body))
    del body[at : at + random_.randint(1, 64)]


def _repeat(body: bytearray, random_: random.Random) -> None:
    at = random_.randrange(len(body))
    part = body[at : at + random_.randint(1, 200)]
    body[at:at] = part * random_.choice((1, 2, 50))


def _insert(body: bytearray, random_: random.Random) -> None:
    at = random_.randrange(len(body))
    body[at:at] = random_.choice((random_.randbytes(16), bytes(64), b"\xff" * 64))


def _splice(body: bytearray, random_: random.Random) -> None:
    """The beginning of this file and the end of another."""
    other = random_.choice(list(seeds().values()))
    body[random_.randrange(min(len(body), 200)) :] = other[random_.randrange(len(other)) :]


def _disguise(body: bytearray, random_: random.Random) -> None:
    """The first bytes of another format."""
    other = random_.choice(list(seeds().values()))
    count = random_.choice((4, 12, 32))
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


def mutated(body: bytes, random_: random.Random) -> bytes:
    """The file with one to three things wrong with it. A PNG mostly gets right checksums again, to be read further."""
    broken = bytearray(body)
    for _ in range(random_.randint(1, 3)):
        if broken:
            random_.choice(MUTATIONS)(broken, random_)
    done = bytes(broken)
    return with_checksums(done) if done.startswith(PNG_HEAD) and random_.random() < 0.7 else done


def with_checksums(png: bytes) -> bytes:
    """The chunks of a PNG with the checksums that they should have; what is no chunk stays."""
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
    """`count` broken files with names that say what each was made from."""
    random_ = random.Random(seed)
    names = sorted(seeds())
    for number in range(count):
        name = names[number % len(names)]
        yield f"{number:05d}-{name}", mutated(seeds()[name], random_)
