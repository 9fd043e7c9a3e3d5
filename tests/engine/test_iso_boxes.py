"""Boxes of AVIF and HEIF: clean aperture, rotation, mirroring, and files whose boxes lie."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path

import pytest
from PIL import Image, features

from benchmarks.quality import color_files as files
from pipeline.engine.color.spaces import CodePoints
from pipeline.engine.containers.boxes import MAX_BOXES
from pipeline.engine.decode.iso_boxes import Properties, read_properties

from .conftest import Run, encoded, gradient, job, opened, rendition
from .measures import mean

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="Pillow has no AVIF")
SIZE = (96, 64)
Box = tuple[int, int, int, int]


def clap(*numbers: int) -> bytes:
    """Build a clean aperture from numerators and denominators of width, height and both offsets."""
    return files.box(b"clap", struct.pack(">IIIIiIiI", *numbers))


def irot(turns: int) -> bytes:
    """Build a rotation by quarter turns counter-clockwise."""
    return files.box(b"irot", bytes((turns,)))


def imir(axis: int) -> bytes:
    """Build a mirroring: 0 swaps top and bottom, 1 swaps left and right."""
    return files.box(b"imir", bytes((axis,)))


def avif(*boxes: bytes, **options: object) -> bytes:
    """Encode a gradient as AVIF with properties."""
    return files.avif(gradient(*SIZE), 1, 13, *boxes, **options)


def made(run: Run, folder: Path, body: bytes) -> Image.Image:
    """Run a job and return the rendition; its size is that of the report on the source."""
    report = run(body, job(rendition(), formats=["AVIF", "HEIF"]))
    assert report["failure"] is None
    assert report["source"] is not None
    shown = opened(folder / "out").convert("RGB")
    assert shown.size == (report["source"]["width"], report["source"]["height"])
    return shown


@needs_avif
@pytest.mark.parametrize(
    ("numbers", "box"),
    [
        ((40, 1, 30, 1, 0, 1, 0, 1), (28, 17, 68, 47)),
        ((40, 1, 30, 1, 10, 1, -7, 1), (38, 10, 78, 40)),
        ((41, 1, 31, 1, 0, 1, 0, 1), (27, 16, 68, 47)),
        ((41, 1, 31, 1, 1, 2, -1, 2), (28, 16, 69, 47)),
        ((80, 2, 90, 3, 20, 2, -21, 3), (38, 10, 78, 40)),
        ((96, 1, 64, 1, 0, 1, 0, 1), (0, 0, 96, 64)),
        ((90, 1, 60, 1, 20, 1, 0, 1), (23, 2, 96, 62)),
        ((1, 1, 1, 1, -47, 1, 31, 1), (0, 62, 1, 63)),
    ],
)
def test_a_clean_aperture_is_cut_out(run: Run, tmp_path: Path, numbers: tuple[int, ...], box: Box) -> None:
    whole = made(run, tmp_path, avif())
    cut = made(run, tmp_path, avif(clap(*numbers)))
    assert cut.size == (box[2] - box[0], box[3] - box[1])
    assert mean(cut, whole.crop(box)) == 0


@needs_avif
@pytest.mark.parametrize(
    "numbers",
    [
        (40, 0, 30, 1, 0, 1, 0, 1),
        (40, 1, 30, 1, 0, 0, 0, 1),
        (0, 1, 30, 1, 0, 1, 0, 1),
        (1, 2, 30, 1, 0, 1, 0, 1),
        (40, 1, 30, 1, 2**31 - 1, 1, 0, 1),
        (40, 1, 30, 1, 0, 1, -(2**31), 1),
        (1, 2**32 - 1, 1, 2**32 - 1, 1, 2**32 - 1, 1, 2**32 - 1),
        (2**32 - 1, 1, 2**32 - 1, 1, 0, 1, 0, 1),
    ],
)
def test_a_clean_aperture_that_makes_no_sense_is_ignored(run: Run, tmp_path: Path, numbers: tuple[int, ...]) -> None:
    assert made(run, tmp_path, avif(clap(*numbers))).size == SIZE


@needs_avif
@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("turns", range(4))
def test_rotation_precedes_mirroring(run: Run, tmp_path: Path, turns: int, axis: int | None) -> None:
    whole = made(run, tmp_path, avif())
    wanted = whole.rotate(90 * turns, expand=True)
    if axis is not None:
        flip = (Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.FLIP_LEFT_RIGHT)[axis]
        wanted = wanted.transpose(flip)
    boxes = [irot(turns)] + ([] if axis is None else [imir(axis)])
    assert mean(made(run, tmp_path, avif(*boxes)), wanted) == 0


@needs_avif
def test_cropping_precedes_rotation(run: Run, tmp_path: Path) -> None:
    whole = made(run, tmp_path, avif())
    turned = made(run, tmp_path, avif(clap(40, 1, 30, 1, 10, 1, -7, 1), irot(1)))
    assert mean(turned, whole.crop((38, 10, 78, 40)).rotate(90, expand=True)) == 0


@needs_avif
def test_frames_are_cut_and_turned(run: Run, tmp_path: Path) -> None:
    """A sequence has its properties in the track. Pillow writes none of them, so nothing is cut."""
    frames = [gradient(*SIZE), gradient(*SIZE).rotate(180)]
    body = files.avif(frames[0], 1, 13, save_all=True, append_images=frames[1:], duration=100)
    report = run(body, job(rendition()))
    assert report["failure"] is None
    with Image.open(tmp_path / "out") as image:
        assert (image.size, getattr(image, "n_frames", 1)) == (SIZE, 2)


@needs_avif
@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_turns_no_avif(run: Run, tmp_path: Path, orientation: int) -> None:
    """Pillow moves the orientation to boxes, so the test renames another field to it."""
    exif = Image.Exif()
    exif[0x0115] = orientation
    body = avif(exif=exif)
    field = struct.pack(">HHIH", 0x0115, 3, 1, orientation)
    assert body.count(field) == 1
    tagged = body.replace(field, struct.pack(">HHIH", 0x0112, 3, 1, orientation))
    assert mean(made(run, tmp_path, tagged), made(run, tmp_path, body)) == 0
    turned = made(run, tmp_path, files.add_property(tagged, irot(1)))
    assert mean(turned, made(run, tmp_path, body).rotate(90, expand=True)) == 0


@pytest.mark.parametrize(
    ("boxes", "size"),
    [
        ([clap(40, 1, 30, 1, 10, 1, -7, 1)], (40, 30)),
        ([irot(1)], (64, 96)),
        ([irot(2), imir(1)], (96, 64)),
        ([clap(40, 1, 30, 1, 0, 1, 0, 1), irot(3)], (30, 40)),
    ],
)
def test_a_heif_is_cut_and_turned_once(run: Run, tmp_path: Path, boxes: list[bytes], size: tuple[int, int]) -> None:
    """Libheif does it, so the engine must not do it again."""
    pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    body = files.heif(gradient(*SIZE))
    for box in boxes:
        body = files.add_property(body, box)
    assert made(run, tmp_path, body).size == size


@needs_avif
def test_a_grid_has_the_color_of_its_tiles() -> None:
    """A derived item without colr is made from its first tile, which has one."""
    color = files.box(b"colr", b"nclx" + struct.pack(">3HB", 12, 13, 6, 0x80))
    parts = [
        files.box(b"pitm", struct.pack(">IH", 0, 1)),
        files.box(b"iprp", files.box(b"ipco", color) + files.box(b"ipma", struct.pack(">IIHBB", 0, 1, 2, 1, 1))),
        files.box(b"iref", bytes(4) + files.box(b"dimg", struct.pack(">4H", 1, 2, 2, 3))),
    ]
    file = files.box(b"ftyp", b"heic" + bytes(4)) + files.box(b"meta", bytes(4) + b"".join(parts))
    assert read_properties(io.BytesIO(file)).color == CodePoints(12, 13)


def test_wide_tables_are_read() -> None:
    """Items and properties with large numbers, and boxes with 64-bit lengths."""
    fillers = b"".join(files.box(b"free", b"") for _ in range(200))
    color = files.box(b"colr", b"nclx" + struct.pack(">3HB", 9, 18, 9, 0))
    table = struct.pack(">II", 0x0100_0001, 2) + struct.pack(">IBH", 5, 1, 1) + struct.pack(">IBH", 70_000, 1, 0x80C9)
    properties = files.box(b"ipco", fillers + color) + files.box(b"ipma", table)
    inner = files.box(b"pitm", struct.pack(">II", 0x0100_0000, 70_000)) + files.box(b"iprp", properties)
    meta = struct.pack(">I4sQ", 1, b"meta", 16 + 4 + len(inner)) + bytes(4) + inner
    assert read_properties(io.BytesIO(files.box(b"ftyp", b"heic") + meta)).color == CodePoints(9, 18)


def test_the_header_of_av1_declares_colors_without_a_colr_box() -> None:
    """The header of `kimono.crop.avif`, with other code points: 9 and 16."""
    header = bytes.fromhex("81050c00 0a0a 19666d1fff8202 1a1208".replace(" ", ""))
    assert b"\x1f\xff\x82\x02\x1a" in header
    parts = files.box(b"ipco", files.box(b"av1C", header)) + files.box(b"ipma", struct.pack(">IIHBB", 0, 1, 1, 1, 1))
    inner = files.box(b"pitm", struct.pack(">IH", 0, 1)) + files.box(b"iprp", parts)
    file = files.box(b"ftyp", b"avif") + files.box(b"meta", bytes(4) + inner)
    assert read_properties(io.BytesIO(file)).color == CodePoints(1, 13)
    for end in range(len(header)):
        cut = files.box(b"ipco", files.box(b"av1C", header[:end])) + parts[parts.index(b"ipma") - 4 :]
        inner = files.box(b"pitm", struct.pack(">IH", 0, 1)) + files.box(b"iprp", cut)
        read_properties(io.BytesIO(files.box(b"ftyp", b"avif") + files.box(b"meta", bytes(4) + inner)))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0\0",
        b"\0\0\0\x08meta",
        b"\0\0\0\0meta",
        b"\0\0\0\1meta\0\0\0\0\0\0\0\1",
        b"\xff\xff\xff\xffmeta\0\0\0\0",
        files.box(b"ftyp", b"avif") + files.box(b"meta", bytes(4) + files.box(b"pitm", b"") + files.box(b"iprp", b"")),
        files.box(b"meta", bytes(4) + files.box(b"pitm", bytes(6)) + files.box(b"iprp", files.box(b"ipma", b"\0"))),
        files.box(
            b"meta",
            bytes(4) + files.box(b"pitm", bytes(6)) + files.box(b"iprp", files.box(b"ipma", bytes(4) + b"\xff" * 40)),
        ),
        files.box(b"ftyp", b"avis") + files.box(b"moov", files.box(b"trak", files.box(b"mdia", b""))),
        files.box(b"meta", bytes(4) + files.box(b"pitm", bytes(6)) + files.box(b"iprp", b"") + files.box(b"iref", b"")),
    ],
)
def test_boxes_that_lie_give_no_properties(body: bytes) -> None:
    assert read_properties(io.BytesIO(body)) == Properties()


def test_a_file_of_very_many_boxes_gives_no_properties() -> None:
    many = files.box(b"free", b"") * (MAX_BOXES + 1)
    assert read_properties(io.BytesIO(many + files.box(b"meta", bytes(4)))) == Properties()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_changed_bytes_in_the_boxes_are_no_traceback(run: Run, kind: str, seed: int) -> None:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
        body = files.add_property(files.heif(gradient(*SIZE), 9, 16), clap(40, 1, 30, 1, 0, 1, 0, 1))
    elif features.check("avif"):
        body = avif(clap(40, 1, 30, 1, 0, 1, 0, 1), irot(1), files.box(b"clli", struct.pack(">HH", 400, 100)))
    else:
        pytest.skip("Pillow has no AVIF")
    dice, end = random.Random(seed), body.index(b"mdat")
    for _ in range(60):
        changed = bytearray(body)
        for _ in range(dice.randint(1, 3)):
            changed[dice.randrange(32, end)] = dice.choice((0, 1, 255, dice.randrange(256)))
        failure = run(bytes(changed), job(rendition(), formats=["AVIF", "HEIF"]))["failure"]
        assert failure is None or failure["kind"] not in {"engine_failed", "transform_failed", "encode_failed"}


@pytest.mark.skipif(not CASES.is_dir(), reason="no example files beside the repository")
@needs_avif
def test_the_example_files(run: Run, tmp_path: Path) -> None:
    assert made(run, tmp_path, (CASES / "kimono.crop.avif").read_bytes()).size == (385, 330)
    pillow = Image.open(io.BytesIO((CASES / "avif-nclx-p3.avif").read_bytes())).convert("RGB")
    shown = made(run, tmp_path, (CASES / "avif-nclx-p3.avif").read_bytes())
    body = encoded(pillow)
    assert mean(shown, pillow) > 1
    report = run(body[:33] + files.cicp(12, 13) + body[33:])
    assert report["failure"] is None
    assert mean(shown, opened(tmp_path / "out").convert("RGB")) < 0.1
