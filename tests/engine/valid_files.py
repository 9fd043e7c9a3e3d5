"""Valid files of every format and variant: none of them may be refused."""

from __future__ import annotations

import base64
import io
import random
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

from PIL import Image, ImageCms

from .conftest import encoded, gradient, noise
from .containers import SIGNATURE, bmp_of, chunk_of, chunks_of, interlaced, png_of, tiff_of, tiff_tags

SIDES = ((1, 1), (17, 9), (61, 47))
STORED_JPEGS = {
    "arithmetic": (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNiUFVtVkVGZIhlbXd7"
        "gYKBTmCNl4x9lnN+gXz/2wBDARUXFx4aHjshITt8U0ZTfHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8"
        "fHx8fHx8fHz/yQARCAARABgDASIAAhEBAxEB/8wACgAQEAUBEBEF/90ABAAB/9oADAMBAAIRAxEAPwD4dflQdj4WQtrTVmcUi8lg"
        "sxggiX1U9FQXf0MuxrT/0Mjx2Ud+CSuetJrCsi7i5TFQYhTw/9HSIsx6e2mxPjYq87VuoP/S0lwBf8qu5PQi/9k="
    ),
    "arithmetic, progressive": (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNiUFVtVkVGZIhlbXd7"
        "gYKBTmCNl4x9lnN+gXz/2wBDARUXFx4aHjshITt8U0ZTfHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8"
        "fHx8fHx8fHz/ygARCAARABgDASIAAhEBAxEB/8wABgAQARD/2gAMAwEAAhADEAAAAfR5/wBG1LiCiari5kDv22ViRkD/zAAEEAX/"
        "2gAIAQEAAQUCJVxewt3n1cPc/8wABBEF/9oACAEDAQE/AR6K5uW5eqD/zAAEEQX/2gAIAQIBAT8BE4B8WEL/zAAEEAX/2gAIAQEA"
        "Bj8CwP/MAAQQBf/aAAgBAQABPyHRT2PRtP/aAAwDAQACAAMAAAAQiWoE/8wABBEF/9oACAEDAQE/ECdmPd7/zAAEEQX/2gAIAQIB"
        "AT8QEOWIof/MAAQQBf/aAAgBAQABPxCz92PbH9cF19qzb8iQeP/Z"
    ),
    "one scan per component": (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNiUFVtVkVGZIhlbXd7"
        "gYKBTmCNl4x9lnN+gXz/2wBDARUXFx4aHjshITt8U0ZTfHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8"
        "fHx8fHx8fHz/wAARCAARABgDASIAAhEBAxEB/8QAGAAAAwEBAAAAAAAAAAAAAAAAAwQFAgb/xAAeEAACAgICAwAAAAAAAAAAAAAA"
        "AQQRAgMhMQUSIv/dAAQAAf/aAAgBAQAAPwAe/Y0f/9BHGT9VZ//R3F2PKj//0jyITd8H/9Ma8a/e6P/UfiQmq4P/1b23s//Ws49n"
        "/9fpY/aP/8QAFwEAAwEAAAAAAAAAAAAAAAAAAAMEBf/EABoRAAICAwAAAAAAAAAAAAAAAAACBDEBESH/2gAIAQIRAD8ARDdNdP/Q"
        "uw6n/9HHiUf/0haP/8QAFgEBAQEAAAAAAAAAAAAAAAAABAAD/8QAGxEAAQQDAAAAAAAAAAAAAAAAAAIDBDEREiH/2gAIAQMRAD8A"
        "m4TeOn//0BuQkbH/0XJo/9LRdn//2Q=="
    ),
}
"""JPEGs of a kind that Pillow does not write: a gradient of 24×17 pixels with a restart marker in each row of units."""


def photo(size: tuple[int, int]) -> Image.Image:
    """Draw noise and a gradient, so that every byte of pixel data counts."""
    return Image.merge("RGB", [noise(size, 40), noise(size, 60), gradient(*size).getchannel("R")])


def animated(kind: str, size: tuple[int, int] = (24, 18), **options: Any) -> bytes:
    """Encode three frames."""
    frames = [photo(size).rotate(180 * turn).point(lambda v, t=turn: (v + 50 * t) % 256) for turn in range(3)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, **options)


def exif() -> Image.Exif:
    """Return EXIF fields: orientation and copyright."""
    fields = Image.Exif()
    fields[0x0112], fields[0x8298] = 6, "(c) Harbour"
    return fields


def profile() -> bytes:
    """Return an sRGB profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def comment(size: int) -> bytes:
    """Build a comment segment of a JPEG with this many bytes."""
    return b"\xff\xfe" + struct.pack(">H", size - 2) + bytes(size - 4)


def with_late_height(body: bytes) -> bytes:
    """Move the height of a JPEG from its frame header behind its scan (DNL)."""
    frame = next(place for place in range(2, len(body)) if body[place] == 0xFF and body[place + 1] in (0xC0, 0xC2))
    height = body[frame + 5 : frame + 7]
    head = body[: frame + 5] + b"\0\0" + body[frame + 7 :]
    return head.removesuffix(b"\xff\xd9") + b"\xff\xdc\0\4" + height + b"\xff\xd9"


def with_fill_bytes(body: bytes) -> bytes:
    """Put fill bytes in front of the markers of a JPEG between its segments and inside its scan."""
    place, parts = 2, [body[:2]]
    while body[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(body[place + 2 : place + 4], "big")
        parts += [b"\xff\xff\xff", body[place:end]]
        place = end
    scan = body[place:]
    for number in range(8):
        scan = scan.replace(bytes((0xFF, 0xD0 + number)), bytes((0xFF, 0xFF, 0xFF, 0xD0 + number)))
    return b"".join(parts) + scan.replace(b"\xff\xd9", b"\xff\xff\xff\xd9")


def _jpegs() -> Iterator[tuple[str, bytes]]:
    ways: dict[str, dict[str, Any]] = {
        "baseline": {},
        "progressive": {"progressive": True},
        "optimized": {"optimize": True},
        "restart at 1 block": {"restart_marker_blocks": 1},
        "restart at 3 blocks": {"restart_marker_blocks": 3},
        "restart at rows": {"restart_marker_rows": 1},
        "progressive with restarts": {"progressive": True, "restart_marker_blocks": 2},
    }
    for size in SIDES:
        for way, options in ways.items():
            for mode, samplings in (("RGB", (0, 1, 2)), ("L", (0,)), ("CMYK", (0,))):
                for sampling in samplings:
                    body = encoded(photo(size).convert(mode), "JPEG", subsampling=sampling, quality=90, **options)
                    yield f"{size} {mode} {sampling} {way}", body
    yield from ((name, base64.b64decode(text)) for name, text in STORED_JPEGS.items())
    yield from _jpeg_containers()


def _jpeg_containers() -> Iterator[tuple[str, bytes]]:
    size = SIDES[-1]
    plain = encoded(photo(size), "JPEG", quality=90)
    restarts = encoded(photo(size), "JPEG", quality=90, restart_marker_blocks=2)
    arithmetic = base64.b64decode(STORED_JPEGS["arithmetic"])
    padding = 65_536 - 20 - arithmetic.index(b"\xff\xda")
    yield "arithmetic, over the end of a block", arithmetic[:2] + comment(padding) + arithmetic[2:]
    thumbnail = exif()
    thumbnail.get_ifd(0x8769)[0x927C] = plain
    chance = random.Random(15)
    yield "EXIF and profile", encoded(photo(size), "JPEG", exif=exif(), icc_profile=profile(), comment=b"\xff\xd9 x")
    yield "an image in EXIF", encoded(photo(size), "JPEG", exif=thumbnail)
    yield "fill bytes", with_fill_bytes(plain)
    yield "fill bytes before restart markers", with_fill_bytes(restarts)
    yield "DNL with the height in the header", plain.removesuffix(b"\xff\xd9") + b"\xff\xdc\0\4\0\x2f\xff\xd9"
    yield "a comment behind the scan", plain.removesuffix(b"\xff\xd9") + b"\xff\xfe\0\6text\xff\xd9"
    yield "a restart marker behind the scan", restarts.removesuffix(b"\xff\xd9") + b"\xff\xd5\xff\xd9"
    yield "multi-picture", encoded(photo(size), "MPO", save_all=True, append_images=[photo((30, 20))])
    for name, rest in {
        "zeros": bytes(99),
        "text": b"SEFT and more text",
        "another image": plain,
        "an end marker": b"\xff\xd9",
        "random bytes": chance.randbytes(5000),
        "a video": b"\0\0\0\x18ftypmp42" + chance.randbytes(2000),
        "0xFF": b"\xff" * 50,
    }.items():
        yield f"trailing: {name}", plain + rest
        yield f"progressive, trailing: {name}", encoded(photo(size), "JPEG", progressive=True) + rest


def _pngs() -> Iterator[tuple[str, bytes]]:
    for size in SIDES:
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
            for level in (0, 9):
                yield f"{size} {mode} level {level}", encoded(photo(size).convert(mode), compress_level=level)
        yield f"{size} interlaced", interlaced(size, noise(size, 60).tobytes())
    for bits in (1, 2, 4):
        yield f"palette of {bits} bits", encoded(photo((61, 47)).quantize(1 << bits), bits=bits)
    yield "16 bits", encoded(_stored("I;16"))
    yield "black", encoded(Image.new("RGB", (50, 40)))
    yield "transparent", encoded(Image.new("RGBA", (50, 40)))
    yield "black palette", encoded(Image.new("P", (50, 40)))
    body = encoded(photo((61, 47)))
    (head, *rest), (end,) = list(chunks_of(body))[:-1], list(chunks_of(body))[-1:]
    data = b"".join(part for kind, part in rest if kind == b"IDAT")
    pieces = [(b"IDAT", data[place : place + 700]) for place in range(0, len(data), 700)]
    extra: dict[str, list[tuple[bytes, bytes]]] = {
        "text": [(b"tEXt", b"Comment\0hello"), (b"zTXt", b"a\0\0" + zlib.compress(b"x" * 99))],
        "time and density": [
            (b"tIME", struct.pack(">HBBBBB", 2026, 1, 2, 3, 4, 5)),
            (b"pHYs", struct.pack(">IIB", 1, 1, 1)),
        ],
        "private": [(b"prVt", b"anything"), (b"vpAg", bytes(9))],
    }
    for name, chunks in extra.items():
        yield f"{name} before the pixels", png_of(head, *chunks, *pieces, end)
        yield f"{name} behind the pixels", png_of(head, *pieces, *chunks, (b"tEXt", b"a\0b"), end)
    yield "an empty IDAT", png_of(head, (b"IDAT", b""), *pieces, (b"IDAT", b""), end)
    yield "one byte per IDAT", png_of(head, *((b"IDAT", data[at : at + 1]) for at in range(len(data))), end)
    yield "EXIF", encoded(photo((61, 47)), exif=exif(), icc_profile=profile())
    yield "EXIF behind the pixels", png_of(head, *pieces, (b"eXIf", exif().tobytes()[6:]), end)
    yield "trailing bytes", body + b"trailing" * 30
    yield "animation", animated("PNG")
    yield "animation behind a default image", animated("PNG", default_image=True)
    yield (
        "animation, alpha",
        encoded(
            photo((24, 18)).convert("RGBA"),
            save_all=True,
            append_images=[Image.new("RGBA", (24, 18))],
            blend=1,
            disposal=1,
        ),
    )
    assert body.startswith(SIGNATURE)
    assert chunk_of(*end) in body


def _tiffs() -> Iterator[tuple[str, bytes]]:
    packings = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma")
    for size in SIDES:
        for packing in packings:
            for mode in ("L", "RGB", "RGBA", "CMYK"):
                yield f"{size} {mode} {packing}", encoded(photo(size).convert(mode), "TIFF", compression=packing)
        for packing in ("group3", "group4", "tiff_ccitt"):
            yield f"{size} {packing}", encoded(photo(size).convert("1"), "TIFF", compression=packing)
        yield f"{size} JPEG", encoded(photo(size), "TIFF", compression="jpeg")
    for mode in ("1", "P", "LAB", "I;16", "I", "F"):
        yield f"{mode}", encoded(_stored(mode), "TIFF")
    yield "pages", animated("TIFF")
    yield "EXIF and profile", encoded(photo((61, 47)), "TIFF", exif=exif(), icc_profile=profile())
    size = (61, 47)
    pixels = photo(size).tobytes()
    for order in "<>":
        yield f"order {order}", tiff_of(tiff_tags(size), data=pixels, order=order)
    yield "BigTIFF", tiff_of(tiff_tags(size, start=16), data=pixels, big=True)
    yield "from a camera", tiff_of([*tiff_tags(size), (271, 2, b"Harbour\0")], data=pixels)
    small = tiff_tags(SIDES[1], offset=[8], length=[3 * 17 * 9])
    yield "a preview as second page", tiff_of(tiff_tags(size), [*small, (254, 4, [1])], data=pixels)
    yield "the only image called a preview", tiff_of([*tiff_tags(size), (254, 4, [1])], data=pixels)
    yield "a page of several", tiff_of([*tiff_tags(size), (254, 4, [2])], data=pixels)


def _stored(mode: str) -> Image.Image:
    if mode == "LAB":
        return photo((61, 47)).convert("LAB")
    gray = noise((61, 47), 60)
    if mode in ("I;16", "I"):
        return gray.convert("I").point(lambda v: v * 257).convert(mode)
    return gray.convert(mode)


def _others() -> Iterator[tuple[str, str, bytes]]:
    for size in SIDES:
        image = photo(size)
        clear = image.convert("RGBA")
        clear.putalpha(noise(size, 60))
        for quality in (5, 60, 100):
            yield "WEBP", f"{size} lossy {quality}", encoded(image, "WEBP", quality=quality)
            yield "WEBP", f"{size} alpha {quality}", encoded(clear, "WEBP", quality=quality)
        yield "WEBP", f"{size} lossless", encoded(clear, "WEBP", lossless=True)
        for colors in (2, 16, 256):
            yield "GIF", f"{size} {colors} colors", encoded(image.quantize(colors), "GIF")
            yield "GIF", f"{size} {colors} interlaced", encoded(image.quantize(colors), "GIF", interlace=True)
        yield "GIF", f"{size} transparent", encoded(image.quantize(16), "GIF", transparency=0)
        for mode in ("1", "L", "P", "RGB", "RGBA"):
            yield "BMP", f"{size} {mode}", encoded(image.convert(mode), "BMP")
        yield "AVIF", f"{size}", encoded(image, "AVIF", speed=10)
        yield "AVIF", f"{size} alpha", encoded(clear, "AVIF", speed=10, subsampling="4:4:4")
    for kind in ("GIF", "WEBP", "AVIF"):
        yield kind, "animation", animated(kind)
    for kind in ("WEBP", "AVIF"):
        yield kind, "EXIF and profile", encoded(photo((61, 47)), kind, exif=exif(), icc_profile=profile())
    yield "GIF", "trailing bytes", encoded(photo((61, 47)).quantize(9), "GIF") + b"trailing"
    yield "GIF", "a comment", encoded(photo((61, 47)).quantize(9), "GIF", comment=b"a comment")
    yield "BMP", "16 bits", bmp_of(16, bytes(range(256)) * 2, size=(16, 16))
    yield "BMP", "RLE", _run_length_bmp()


def _run_length_bmp() -> bytes:
    """Build a BMP of 8 bits with run-length encoding: 4 rows of 10 equal pixels."""
    data = b"".join(bytes((10, row, 0, 0)) for row in range(4)) + b"\0\1"
    palette = b"".join(bytes((value, value, value, 0)) for value in range(256))
    head = struct.pack("<IiiHHIIiiII", 40, 10, 4, 1, 8, 1, len(data), 2835, 2835, 256, 0)
    start = 14 + len(head) + len(palette)
    return struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start) + head + palette + data


@cache
def valid_files() -> dict[str, bytes]:
    """Return at least 300 valid files by format and variant. HEIF is included where its encoder is installed."""
    files = {f"JPEG {name}": body for name, body in _jpegs()}
    files |= {f"PNG {name}": body for name, body in _pngs()}
    files |= {f"TIFF {name}": body for name, body in _tiffs()}
    files |= {f"{kind} {name}": body for kind, name, body in _others()}
    try:
        import pillow_heif
    except ImportError:
        return files
    for size in SIDES[1:]:
        buffer = io.BytesIO()
        pillow_heif.from_pillow(photo(size)).save(buffer, quality=80)
        files[f"HEIF {size}"] = buffer.getvalue()
    return files
