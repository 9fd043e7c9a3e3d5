"""Repairs of a container in memory: broken metadata and animations of a PNG, a JPEG whose height stands at its end."""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path

import pytest

from pipeline.engine.containers import png
from pipeline.engine.decode.source import Source, open_source

from .conftest import FORMATS, LIMITS, Made, Run, encoded, job, rendition
from .containers import SIGNATURE, Chunk, chunk_of, chunks_of, png_of
from .valid_files import animated, photo, with_late_height

SIZE = (61, 47)
STILL = photo(SIZE)
HEAD, *PIXELS, END = list(chunks_of(encoded(STILL)))
TEXTS: dict[str, tuple[Chunk, str]] = {
    "iCCP": ((b"iCCP", b"name\0\0" + zlib.compress(b"no profile")), "damaged_metadata"),
    "gAMA": ((b"gAMA", struct.pack(">I", 100_000)), "damaged_metadata"),
    "cICP": ((b"cICP", bytes((12, 13, 0, 1))), "damaged_metadata"),
    "sRGB": ((b"sRGB", b"\0"), "damaged_metadata"),
    "tEXt": ((b"tEXt", b"Comment\0hello"), "damaged_metadata"),
    "zTXt": ((b"zTXt", b"Comment\0\0" + zlib.compress(b"hello")), "damaged_metadata"),
    "iTXt": ((b"iTXt", b"Comment\0\0\0\0\0hello"), "damaged_metadata"),
    "eXIf": ((b"eXIf", b"MM\0*\0\0\0\x08\0\0\0\0\0\0"), "damaged_metadata"),
    "pHYs": ((b"pHYs", struct.pack(">IIB", 1, 1, 1)), "damaged_metadata"),
    "private": ((b"prVt", b"anything"), "damaged_metadata"),
    "tRNS": ((b"tRNS", bytes(6)), "transparency"),
}


def opened_source(body: bytes, folder: Path) -> Source:
    """Open a source without decoding its pixels."""
    (folder / "in.bin").write_bytes(body)
    with open_source(folder / "in.bin", FORMATS, LIMITS) as source:
        return source


def with_wrong_checksum(chunk: Chunk, place: str) -> bytes:
    """Build a PNG with this chunk before or behind the pixels."""
    broken, pixels = chunk_of(*chunk, checksum=7), b"".join(chunk_of(*each) for each in PIXELS)
    parts = [broken, pixels] if place == "before" else [pixels, broken]
    return SIGNATURE + chunk_of(*HEAD) + b"".join(parts) + chunk_of(*END)


@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize("name", TEXTS)
def test_a_broken_ancillary_chunk_is_left_out(made: Made, tmp_path: Path, name: str, place: str) -> None:
    chunk, dropped = TEXTS[name]
    body = with_wrong_checksum(chunk, place)
    assert made(body).convert("RGB").tobytes() == STILL.tobytes()
    assert opened_source(body, tmp_path).dropped == {dropped}


@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize(
    ("kind", "data"),
    [
        *((b"iCCP", data) for data in (b"", b"x", b"name", b"name\0", b"name\0\1abc", b"x" * 80 + b"\0\0")),
        *((b"zTXt", data) for data in (b"a\0\7abc", b"x" * 90)),
        *((b"sRGB", b""), (b"gAMA", b"\0\1"), (b"cHRM", bytes(31)), (b"pHYs", bytes(8)), (b"tRNS", bytes(5))),
    ],
)
def test_an_ancillary_chunk_that_is_too_short_is_left_out(
    made: Made, tmp_path: Path, kind: bytes, data: bytes, place: str
) -> None:
    body = png_of(HEAD, *([(kind, data)] if place == "before" else []), *PIXELS, (kind, data), END)
    assert made(body).convert("RGB").tobytes() == STILL.tobytes()
    assert opened_source(body, tmp_path).dropped == {"transparency" if kind == b"tRNS" else "damaged_metadata"}


@pytest.mark.parametrize("name", [b"IHDR", b"PLTE", b"IDAT", b"IEND", b"unKN", b"UNKN"])
def test_a_broken_critical_chunk_is_damage(run: Run, name: bytes) -> None:
    body = encoded(STILL.quantize(16))
    parts = [chunk_of(*each, checksum=7 if each[0] == name else None) for each in chunks_of(body)]
    broken = chunk_of(name, b"abc", checksum=7) if name.lower() == b"unkn" else b""
    report = run(SIGNATURE + parts[0] + broken + b"".join(parts[1:]))
    if name == b"unKN":
        assert report["failure"] is None
    else:
        assert report["failure"] is not None
        assert report["failure"]["kind"] == "damaged_image"


@pytest.mark.parametrize("kind", [b"iDAT", b"idat", b"pLTE", b"iEND"])
def test_a_critical_chunk_with_a_changed_name_is_damage(run: Run, kind: bytes) -> None:
    wanted = kind.upper()
    chunks = list(chunks_of(encoded(STILL.quantize(16))))
    parts = [
        chunk_of(kind, data, checksum=zlib.crc32(wanted + data)) if name == wanted else chunk_of(name, data)
        for name, data in chunks
    ]
    failure = run(SIGNATURE + b"".join(parts))["failure"]
    assert failure is not None
    assert failure["kind"] == "damaged_image"


@pytest.mark.parametrize("rows", [0, 1, 20, SIZE[1] - 1])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_missing_rows_are_damage(run: Run, mode: str, rows: int) -> None:
    """All checksums are right, and the compressed data end as they should; they hold too few rows."""
    head, *rest = list(chunks_of(encoded(STILL.point(lambda v: v | 1).convert(mode))))
    data = b"".join(part for kind, part in rest if kind == b"IDAT")
    raw = zlib.decompress(data)
    short = zlib.compress(raw[: len(raw) * rows // SIZE[1]])
    before = [each for each in rest if each[0] in (b"PLTE", b"tRNS")]
    body = png_of(head, *before, (b"IDAT", short), END)
    failure = run(body)["failure"]
    assert failure is not None
    assert failure["kind"] == "damaged_image"
    assert run(body, job(on_truncated="patch"))["renditions"][0]["extra"] == {"patched": "true"}


# -- animations --------------------------------------------------------------------------------------------------------


def numbered(*chunks: Chunk) -> list[Chunk]:
    """Number the chunks of an animation from 0."""
    done, number = list[Chunk](), 0
    for kind, data in chunks:
        counts = kind in (b"fcTL", b"fdAT")
        done.append((kind, struct.pack(">I", number) + data[4:] if counts else data))
        number += counts
    return done


ANIMATION = list(chunks_of(animated("PNG")))
CONTROL = [at for at, chunk in enumerate(ANIMATION) if chunk[0] == b"fcTL"]
FRAME = [at for at, chunk in enumerate(ANIMATION) if chunk[0] == b"fdAT"]
COUNT = next(at for at, chunk in enumerate(ANIMATION) if chunk[0] == b"acTL")


def changed(at: int, start: int, value: bytes) -> list[Chunk]:
    """Overwrite bytes in one chunk of the animation."""
    kind, data = ANIMATION[at]
    return [*ANIMATION[:at], (kind, data[:start] + value + data[start + len(value) :]), *ANIMATION[at + 1 :]]


def without(*places: int) -> list[Chunk]:
    """Remove chunks of the animation."""
    return [chunk for at, chunk in enumerate(ANIMATION) if at not in places]


BROKEN_ANIMATIONS: dict[str, list[Chunk]] = {
    "a gap before a frame": changed(CONTROL[1], 0, struct.pack(">I", 5)),
    "a gap before pixels": changed(FRAME[0], 0, struct.pack(">I", 9)),
    "a repeated number": changed(FRAME[-1], 0, struct.pack(">I", 1)),
    "two frames exchanged": [*without(CONTROL[1]), ANIMATION[CONTROL[1]], END],
    "no frame has pixels": without(*FRAME),
    "the last frame has no pixels": without(*[at for at in FRAME if at > CONTROL[-1]]),
    "pixels without a frame": numbered(*without(*CONTROL)),
    "no count": without(COUNT),
    "a count of 0": changed(COUNT, 0, bytes(4)),
    "a count beyond the frames": changed(COUNT, 0, struct.pack(">I", 9)),
    "a huge count": changed(COUNT, 0, b"\xff" * 4),
    "two counts": [*ANIMATION[: COUNT + 1], ANIMATION[COUNT], *ANIMATION[COUNT + 1 :]],
    "the count behind the pixels": [*without(COUNT)[:-1], ANIMATION[COUNT], END],
    "a short count": [*ANIMATION[:COUNT], (b"acTL", b"\0\0\0"), *ANIMATION[COUNT + 1 :]],
    "a short frame control": [(kind, data[:25] if kind == b"fcTL" else data) for kind, data in ANIMATION],
    "a long frame control": [(kind, data + b"\0" if kind == b"fcTL" else data) for kind, data in ANIMATION],
    "pixels without a number": [(kind, data[:3] if kind == b"fdAT" else data) for kind, data in ANIMATION],
    "a frame of no width": changed(CONTROL[1], 4, bytes(4)),
    "a frame over the edge": changed(CONTROL[1], 12, struct.pack(">I", 20)),
    "a huge frame": changed(CONTROL[1], 4, b"\xff" * 8),
    "a first frame that is too small": changed(CONTROL[0], 4, struct.pack(">I", 3)),
    "an unknown way to dispose": changed(CONTROL[1], 24, b"\7"),
    "an unknown way to blend": changed(CONTROL[1], 25, b"\7"),
}


@pytest.mark.parametrize("name", BROKEN_ANIMATIONS)
def test_a_broken_animation_becomes_its_still_image(run: Run, tmp_path: Path, name: str) -> None:
    body = png_of(*[chunk for chunk in BROKEN_ANIMATIONS[name] if chunk != END], END)
    report = run(body, job(rendition("out", "webp")))
    assert report["failure"] is None, report["failure"]
    assert report["source"] is not None
    assert report["source"]["frames"] == 1
    assert opened_source(body, tmp_path).dropped == {"animation"}


@pytest.mark.parametrize("name", [b"acTL", b"fcTL"])
def test_a_wrong_checksum_of_an_animation_leaves_the_still_image(run: Run, tmp_path: Path, name: bytes) -> None:
    body = SIGNATURE + b"".join(chunk_of(*each, checksum=7 if each[0] == name else None) for each in ANIMATION)
    assert run(body)["failure"] is None
    assert opened_source(body, tmp_path).dropped == {"animation"}


@pytest.mark.parametrize("patch", ["fail", "patch"])
def test_broken_pixels_of_an_animation_are_damage(run: Run, patch: str) -> None:
    body = SIGNATURE + b"".join(chunk_of(*each, checksum=7 if each[0] == b"fdAT" else None) for each in ANIMATION)
    kind, data = ANIMATION[FRAME[-1]]
    short = (kind, data[:4] + zlib.compress(zlib.decompress(data[4:])[:99]))
    for each in (body, png_of(*ANIMATION[: FRAME[-1]], short, END), png_of(*ANIMATION)[:-400]):
        failure = run(each, job(rendition("out", "webp"), on_truncated=patch))["failure"]
        assert failure is not None
        assert failure["kind"] == "damaged_image"


def test_an_intact_animation_stays_one(run: Run, tmp_path: Path) -> None:
    report = run(png_of(*ANIMATION), job(rendition("out", "webp")))
    assert report["source"] is not None
    assert report["source"]["frames"] == 3
    assert opened_source(png_of(*ANIMATION), tmp_path).dropped == set()


def test_too_many_chunks_are_refused_in_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "MAX_CHUNKS", 1000)
    body = SIGNATURE + chunk_of(*HEAD) + chunk_of(b"prVt", b"") * 2000 + b"".join(chunk_of(*each) for each in PIXELS)
    started = time.perf_counter()
    failure = run(body + chunk_of(*END))["failure"]
    assert failure is not None
    assert "chunks" in failure["message"]
    assert time.perf_counter() - started < 2


# -- JPEG --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 2}])
def test_a_jpeg_whose_height_follows_its_scan_is_read(made: Made, options: dict[str, int]) -> None:
    body = encoded(STILL.convert("L"), "JPEG", quality=90, **options)
    assert made(with_late_height(body)).tobytes() == made(body).tobytes()


def test_a_jpeg_without_any_height_is_damaged(run: Run) -> None:
    body = with_late_height(encoded(STILL, "JPEG"))
    place = body.index(b"\xff\xdc")
    for broken in (body[:place] + body[place + 6 :], body[:place] + b"\xff\xdc\0\4\0\0\xff\xd9", body[: place + 4]):
        failure = run(broken)["failure"]
        assert failure is not None
        assert failure["kind"] == "damaged_image"
