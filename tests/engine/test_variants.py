"""Unsupported variants: the reason names the variant and the way out, and never calls a valid file damaged."""

from __future__ import annotations

import gzip
import lzma
import struct
import time
import zlib
from typing import Any

import pytest

from pipeline.engine.containers import tiff_tags
from pipeline.engine.containers.tiff import MAX_VALUES, read_directory
from tests.hostile.jobs import FORMATS

from .conftest import Run, encoded, job, noise, steps
from .containers import SIGNATURE, Tag, bmp_of, box, chunk_of, chunks_of, heif_of, tiff_of
from .containers import tiff_tags as tags_of
from .valid_files import photo

SIZE, LARGE = (16, 12), (64, 48)
PIXELS = photo(SIZE).tobytes()
JPEG = encoded(photo(SIZE), "JPEG")
MAKE: Tag = (271, 2, b"Harbour Corp\0")
PREVIEW: Tag = (254, 4, [1])


def raw(*tags: Tag, order: str = "<", mark: bytes = b"", **changes: Any) -> bytes:
    """Build a TIFF whose first directory holds a small RGB image and these tags; bytes from 8 on start with `mark`."""
    data = mark + PIXELS
    named = {tag: (tag, kind, values) for tag, kind, values in tags_of(SIZE, start=8 + len(mark), **changes)}
    return tiff_of([*{**named, **{tag[0]: tag for tag in tags}}.values()], data=data, order=order)


RAW_FILES: dict[str, bytes] = {
    "DNG": raw(PREVIEW, MAKE, (330, 4, [8]), (50706, 1, [1, 4, 0, 0])),
    "DNG, big endian": raw(PREVIEW, (50706, 1, [1, 4, 0, 0]), order=">"),
    "linear DNG": raw((50706, 1, [1, 6, 0, 0]), (262, 3, [34892])),
    "NEF": raw(PREVIEW, MAKE, (330, 4, [8, 8])),
    "NEF, big endian": raw(PREVIEW, MAKE, (330, 4, [8, 8]), order=">"),
    "ARW": raw(PREVIEW, MAKE, (330, 13, [8])),
    "CR2": raw(MAKE, mark=b"CR\2\0\0\0\0\0"),
    "PEF": raw(MAKE, compression=[65535]),
    "TIFF/EP": raw(MAKE, color=[32803]),
    "RAF": b"FUJIFILMCCD-RAW 0201" + bytes(100),
    "ORF": b"IIRO\x08\0\0\0" + bytes(100),
    "ORF, big endian": b"MMOR\0\0\0\x08" + bytes(100),
    "RW2": b"IIU\0\x18\0\0\0" + bytes(100),
    "CRW": b"II\x1a\0\0\0HEAPCCDR" + bytes(100),
    "X3F": b"FOVb" + bytes(100),
    "MRW": b"\0MRM" + bytes(100),
    "CR3": box(b"ftyp", b"crx ", bytes(4), b"crx isom") + bytes(100),
}


@pytest.mark.parametrize("name", RAW_FILES)
def test_camera_raw_is_refused_as_such(run: Run, name: str) -> None:
    failure = run(RAW_FILES[name])["failure"]
    assert failure is not None
    assert failure["kind"] == "unsupported_variant"
    assert "camera RAW" in failure["message"]
    assert "develop it" in failure["message"]


def test_a_tiff_that_starts_with_a_preview_is_refused_or_selected(run: Run) -> None:
    data = photo(LARGE).tobytes()
    small = [*tags_of(SIZE), PREVIEW]
    body = tiff_of(small, tags_of(LARGE), data=data)
    failure = run(body)["failure"]
    assert failure is not None
    assert failure["kind"] == "unsupported_variant"
    report = run(body, job(shared=steps(("frame", {"index": 1}))))
    assert report["failure"] is None
    assert report["source"] is not None
    assert (report["source"]["width"], report["source"]["height"]) == LARGE


PACKED = {
    "gzip": gzip.compress(JPEG),
    "xz": lzma.compress(JPEG),
    "zlib": zlib.compress(JPEG),
    "Zstandard": b"\x28\xb5\x2f\xfd" + bytes(50),
    "bzip2": b"BZh91AY&SY" + bytes(50),
}


@pytest.mark.parametrize("name", PACKED)
def test_a_packed_image_is_refused_as_such(run: Run, name: str) -> None:
    failure = run(PACKED[name])["failure"]
    assert failure is not None
    assert failure["kind"] == "unsupported_variant"
    assert f"compressed with {name}: upload the image itself" in failure["message"]


def frame_changed(body: bytes, marker: int = 0xC0, precision: int = 8) -> bytes:
    """Change the frame header of a baseline JPEG."""
    place = body.index(b"\xff\xc0")
    return body[:place] + bytes((0xFF, marker)) + body[place + 2 : place + 4] + bytes((precision,)) + body[place + 5 :]


def two_components() -> bytes:
    """Build the header of a JPEG with two components."""
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 14, 8, 12, 16, 2) + bytes((1, 0x11, 0, 2, 0x11, 0))
    return b"\xff\xd8" + frame + b"\xff\xda\0\x0a\2\1\0\2\0\0\x3f\0" + bytes(50) + b"\xff\xd9"


def tiff(*, order: str = "<", big: bool = False, data: bytes = bytes(20_000), **changes: Any) -> bytes:
    """Build a TIFF of 16×12 pixels with changed tags."""
    return tiff_of(tags_of(SIZE, length=[len(data)], **changes), data=data, order=order, big=big)


def ios_png() -> bytes:
    """Build a PNG as Xcode writes it for iOS: a chunk CgBI first, and no header in the compressed data."""
    head, *_, end = chunks_of(encoded(photo(SIZE)))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packer.compress(b"".join(b"\0" + PIXELS[row * 48 : row * 48 + 48] for row in range(12))) + packer.flush()
    return SIGNATURE + chunk_of(b"CgBI", b"P\0 \2") + chunk_of(*head) + chunk_of(b"IDAT", data) + chunk_of(*end)


VARIANTS: dict[str, tuple[bytes, str]] = {
    "12-bit JPEG": (frame_changed(JPEG, 0xC1, 12), "12 bits per sample"),
    "12-bit progressive JPEG": (frame_changed(JPEG, 0xC2, 12), "12 bits per sample"),
    "16-bit lossless JPEG": (frame_changed(JPEG, 0xC3, 16), "16 bits per sample"),
    "hierarchical JPEG": (frame_changed(JPEG, 0xC5), "hierarchical JPEG"),
    "JPEG-LS": (frame_changed(JPEG, 0xF7), "JPEG-LS"),
    "JPEG of two components": (two_components(), "2 color components"),
    "BigTIFF, big endian": (tiff(big=True, order=">"), "big-endian BigTIFF"),
    "float RGB": (tiff(bits=[32] * 3, format=[3] * 3), "a TIFF"),
    "float RGB, big endian": (tiff(bits=[32] * 3, format=[3] * 3, order=">"), "a TIFF"),
    "half float RGB": (tiff(bits=[16] * 3, format=[3] * 3), "a TIFF"),
    "double RGB": (tiff(bits=[64] * 3, format=[3] * 3), "a TIFF"),
    "complex": (tiff(bits=[64], format=[6], color=[1], samples=[1]), "a TIFF"),
    "32-bit RGB": (tiff(bits=[32] * 3), "a TIFF"),
    "12-bit RGB": (tiff(bits=[12] * 3), "a TIFF"),
    "16-bit LAB": (tiff(bits=[16] * 3, color=[8]), "a TIFF"),
    "WebP in TIFF": (tiff(compression=[50001], data=b"RIFF" + bytes(100)), "a TIFF"),
    "JPEG 2000 in TIFF": (tiff(compression=[34712], data=bytes(100)), "a TIFF"),
    "Aperio in TIFF": (tiff(compression=[33005], data=bytes(100)), "a TIFF"),
    "LERC in TIFF": (tiff(compression=[34887], data=bytes(100)), "a TIFF"),
    "JPEG XL in TIFF": (tiff(compression=[50002], data=bytes(100)), "a TIFF"),
    "JPEG in BMP": (bmp_of(0, JPEG, size=SIZE, compression=4), "a BMP"),
    "PNG in BMP": (bmp_of(0, encoded(photo(SIZE)), size=SIZE, compression=5), "a BMP"),
    "CMYK in BMP": (bmp_of(32, bytes(16 * 12 * 4), size=SIZE, compression=11), "a BMP"),
    "64-bit BMP": (bmp_of(64, bytes(16 * 12 * 8), size=SIZE), "a BMP"),
    "uncompressed HEIF": (heif_of(b"unci"), "uncompressed pixels (unci)"),
    "JPEG 2000 in HEIF": (heif_of(b"j2k1"), "JPEG 2000"),
    "JPEG 2000 in HEIF with a thumbnail": (heif_of(b"j2k1", others=(b"jpeg", b"hvc1")), "JPEG 2000"),
    "VVC in HEIF": (heif_of(b"vvc1"), "VVC"),
    "zlib in HEIF": (heif_of(b"unci", box(b"cmpC", bytes(4), b"zlib", b"\0")), "zlib or Brotli"),
    "Brotli in HEIF": (heif_of(b"unci", box(b"cmpC", bytes(4), b"brot", b"\0")), "zlib or Brotli"),
    "PNG for iOS": (ios_png(), "CgBI"),
}


@pytest.mark.parametrize("patch", ["fail", "patch"])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_refused_by_its_name(run: Run, name: str, patch: str) -> None:
    body, words = VARIANTS[name]
    if b"heic" in body[:40]:
        pytest.importorskip("pillow_heif")
    failure = run(body, job(formats=FORMATS, on_truncated=patch))["failure"]
    assert failure is not None
    assert failure["kind"] == "unsupported_variant", failure
    assert words in failure["message"]
    assert "convert it to" in failure["message"]


@pytest.mark.parametrize(
    "body",
    [
        tiff(bits=[32] * 3, format=[3] * 3)[:200],
        tiff(bits=[8] * 3, offset=[10**6], format=[3] * 3),
        tiff(bits=[77] * 3),
        tiff(color=[999]),
        tiff(compression=[12345]),
        bmp_of(24, b"", size=SIZE),
        bmp_of(24, bytes(16 * 12 * 3), size=SIZE)[:300],
        bmp_of(32, struct.pack("<III", 0xFF0000, 0xFF00, 0xFF) + bytes(16 * 12 * 4), size=SIZE, compression=3)[:90],
        bmp_of(24, bytes(100), size=SIZE, compression=99),
        heif_of(b"hvc1"),
        heif_of(b"hvc1", others=(b"jpeg",)),
        JPEG[:300],
        encoded(noise((300, 200), 60), "TIFF", compression="tiff_lzw")[:9000],
    ],
)
def test_damage_is_no_variant(run: Run, body: bytes) -> None:
    failure = run(body, job(formats=FORMATS))["failure"]
    assert failure is not None
    assert failure["kind"] in ("damaged_image", "unsupported_here")


def test_a_variant_of_a_format_that_is_not_allowed_says_so(run: Run) -> None:
    failure = run(tiff(bits=[32] * 3, format=[3] * 3), job(formats=["JPEG"]))["failure"]
    assert failure is not None
    assert failure["kind"] == "format_not_allowed"


def test_the_make_of_a_camera_cannot_disturb_the_message(run: Run) -> None:
    failure = run(raw(PREVIEW, (271, 2, b"\x1b[2J\n" + b"x" * 500 + b"\0"), (330, 4, [8])))["failure"]
    assert failure is not None
    assert failure["message"].isprintable()
    assert len(failure["message"]) < 200


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tags_are_read_in_every_layout(order: str, big: bool) -> None:
    body = tiff_of([*tags_of(SIZE), MAKE], tags_of(LARGE), data=PIXELS, order=order, big=big)
    first = read_directory(memoryview(body))
    assert first is not None
    assert (first.numbers(258), first.data(271, 100), first.first(256)) == ((8, 8, 8), MAKE[2], 16)
    second = read_directory(memoryview(body), first.next)
    assert second is not None
    assert (second.first(256), second.first(257), second.next) == (64, 48, 0)


@pytest.mark.parametrize(
    "body", [b"", b"II", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"II*\0\x02\0\0\0"]
)
def test_a_directory_that_is_not_there_is_none(body: bytes) -> None:
    found = read_directory(memoryview(body))
    assert found is None or not found.first(tiff_tags.WIDTH)


def test_counts_that_lie_cost_nothing() -> None:
    body = struct.pack("<2sHIH", b"II", 42, 8, 65_535) + struct.pack("<HHII", 273, 4, 2**32 - 1, 8) * 65_535
    started = time.perf_counter()
    found = read_directory(memoryview(body))
    assert time.perf_counter() - started < 1
    assert found is not None
    assert len(found.numbers(273)) <= MAX_VALUES
