"""Canvases of GIF, WebP and animated PNG: frames are composed as in browsers, whatever the header says."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image, ImageSequence

from pipeline.engine.decode import webp_alpha

from . import gif_files, webp_files
from .conftest import Made, Run, encoded, gradient, job, opened, rendition
from .gif_files import compose, write_gif
from .pixels import colors, frames_of, joined, pixels_of
from .png_files import write_apng
from .webp_files import write_webp

# GIF

CANVAS = (11, 9)


def gif_frame(draw: random.Random, shared: int) -> gif_files.Frame:
    """Draw a frame: any place, disposal, transparency, interlacing and palette."""
    width, height = CANVAS
    left, top = (0, 0) if draw.random() < 0.5 else (draw.randrange(width), draw.randrange(height))
    across, down = (width, height) if (left, top) == (0, 0) else (width - left, height - top)
    if draw.random() < 0.3:
        across, down = draw.randint(1, across), draw.randint(1, down)
    own = colors(draw, draw.choice([4, 8, 16])) if draw.random() < 0.4 or not shared else None
    count = len(own) if own else shared
    return gif_files.Frame(
        [[draw.randrange(count) for _ in range(across)] for _ in range(down)],
        left,
        top,
        draw.choice([0, 1, 2, 3]),
        draw.randrange(count) if draw.random() < 0.5 else None,
        own,
        draw.random() < 0.3,
        draw.random() < 0.95,
    )


def test_gif_frames_beyond_the_canvas_count_as_pixels(run: Run) -> None:
    large = gif_files.Frame([[0] * 200] * 200)
    body = write_gif((4, 4), [(0, 0, 0), (255, 255, 255)], [gif_files.Frame([[0] * 4] * 4), large, large, large])
    assert run(body, job(rendition("out", "webp"), max_pixels=130_000))["failure"] is None
    failure = run(body, job(rendition("out", "webp"), max_pixels=90_000))["failure"]
    assert failure is not None
    assert failure["kind"] == "too_many_pixels"


@pytest.mark.parametrize("seed", range(40))
def test_a_gif_is_composed_as_in_browsers(run: Run, tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    shared = colors(draw, 8) if draw.random() < 0.9 else None
    drawn = [gif_frame(draw, 8 if shared else 0) for _ in range(draw.choice([1, 1, 2, 3, 4]))]
    # Without a control block, a frame has neither disposal nor transparency.
    frames = [
        frame
        if frame.control
        else gif_files.Frame(frame.rows, frame.left, frame.top, 0, None, frame.palette, frame.interlaced, False)
        for frame in drawn
    ]
    assert run(write_gif(CANVAS, shared, frames, ground=draw.randrange(8)))["failure"] is None
    canvases = [[pixel for row in canvas for pixel in row] for canvas in compose(CANVAS, shared, frames)]
    assert frames_of(opened(tmp_path / "out")) == joined(canvases)  # type: ignore[arg-type]


def test_a_first_frame_that_is_too_small_leaves_the_rest_clear(made: Made) -> None:
    frame = gif_files.Frame([[1, 1], [1, 1]], 2, 1)
    shown = made(write_gif((6, 4), [(255, 0, 0), (0, 0, 255)], [frame], ground=0))
    assert shown.size == (6, 4)
    assert [shown.getpixel(place) for place in ((0, 0), (2, 1), (3, 2), (4, 2))] == [
        (0, 0, 0, 0),
        (0, 0, 255, 255),
        (0, 0, 255, 255),
        (0, 0, 0, 0),
    ]


def test_a_later_frame_is_cut_at_the_canvas(run: Run, tmp_path: Path) -> None:
    first, wide = gif_files.Frame([[0] * 4] * 4), gif_files.Frame([[1] * 9] * 9, 2, 2)
    assert run(write_gif((4, 4), [(255, 0, 0), (0, 0, 255)], [first, wide]))["failure"] is None
    _, second = ImageSequence.all_frames(opened(tmp_path / "out"))
    assert second.size == (4, 4)
    assert [second.convert("RGB").getpixel((at, at)) for at in (1, 2)] == [(255, 0, 0), (0, 0, 255)]


def test_a_frame_without_pixels_is_no_crash(run: Run) -> None:
    empty = b"GIF89a" + struct.pack("<2H3B", 4, 4, 0x80, 0, 0) + bytes(6) + struct.pack("<B4HB", 0x2C, 0, 0, 0, 0, 0)
    failure = run(empty + b"\x02\x01\x00\x00;")["failure"]
    assert failure is None or failure["kind"] == "damaged_image"


# WebP


def webp_frame(draw: random.Random) -> webp_files.Frame:
    """Draw a lossless frame at an even place, with or without alpha."""
    left, top = (0, 0) if draw.random() < 0.5 else (2 * draw.randint(0, 4), 2 * draw.randint(0, 3))
    width, height = (12, 10) if (left, top) == (0, 0) else (draw.randint(1, 12 - left), draw.randint(1, 10 - top))
    mode = "RGBA" if draw.random() < 0.3 else "RGB"
    image = Image.frombytes(mode, (width, height), draw.randbytes(width * height * len(mode)))
    if mode == "RGBA":
        image.putalpha(image.getchannel("A").point([0] * 128 + [255] * 128))
    return webp_files.Frame(image, left, top, draw.random() < 0.3, draw.random() < 0.6)


def composed(frames: Sequence[webp_files.Frame]) -> Iterator[Image.Image]:
    """Yield the canvas after each frame (RFC 9649, 2.7.1)."""
    canvas = Image.new("RGBA", (12, 10))
    for frame in frames:
        image = frame.image.convert("RGBA")
        place = (frame.left, frame.top)
        canvas.paste(image, place, image if frame.blend else None)
        yield canvas.copy()
        if frame.clear_after:
            canvas.paste((0, 0, 0, 0), (*place, frame.left + image.width, frame.top + image.height))


@pytest.mark.parametrize("seed", range(40))
def test_a_webp_animation_is_clear_where_no_frame_is(run: Run, tmp_path: Path, seed: int) -> None:
    """The flag of the header does not matter, for the source and for our own rendition."""
    draw = random.Random(seed)
    frames = [webp_frame(draw) for _ in range(draw.choice([1, 2, 3, 4]))]
    body = write_webp((12, 10), frames, alpha=draw.random() < 0.2)
    report = run(body, job(rendition("out", "png"), rendition("webp", "webp", lossless=True)))
    assert report["failure"] is None
    want = joined(pixels_of(canvas) for canvas in composed(frames))
    assert frames_of(opened(tmp_path / "out")) == want
    assert frames_of(opened(tmp_path / "webp")) == want
    made = (tmp_path / "webp").read_bytes()
    clear = any(pixel[3] == 0 for frame in want for pixel in frame)
    assert made[12:16] != b"VP8X" or bool(made[webp_alpha.FLAGS_OFFSET] & 0x10) >= clear


def test_an_animation_that_is_opaque_stays_opaque(run: Run, tmp_path: Path) -> None:
    frames = [webp_files.Frame(gradient(12, 10)), webp_files.Frame(Image.new("RGB", (4, 4), "red"), 2, 2)]
    assert run(write_webp((12, 10), frames), job(rendition("out", "webp", lossless=True)))["failure"] is None
    assert not (tmp_path / "out").read_bytes()[webp_alpha.FLAGS_OFFSET] & 0x10
    assert all(pixel[3] == 255 for frame in frames_of(opened(tmp_path / "out")) for pixel in frame)


@pytest.mark.parametrize("cut", [30, 38, 44, 60, 70])
def test_a_webp_animation_that_ends_early_is_damage(run: Run, cut: int) -> None:
    body = write_webp((12, 10), [webp_files.Frame(Image.new("RGB", (4, 4), "red"), 2, 2)])
    failure = run(body[:cut])["failure"]
    assert failure is not None
    assert failure["kind"] == "damaged_image"


# APNG

MODES = {0: "L", 2: "RGB", 6: "RGBA"}


def apng_frame(draw: random.Random, kind: int, *, whole: bool) -> tuple[Image.Image, int, int, int, int]:
    """Draw a frame with its place, disposal and blending. Alpha is any."""
    left, top = (0, 0) if whole else (draw.randrange(12), draw.randrange(10))
    width, height = (12, 10) if whole else (draw.randint(1, 12 - left), draw.randint(1, 10 - top))
    mode = MODES[kind]
    image = Image.frombytes(mode, (width, height), draw.randbytes(width * height * len(mode)))
    return image, left, top, draw.randrange(3), draw.randrange(2)


def apng_canvases(frames: Sequence[tuple[Image.Image, int, int, int, int]]) -> Iterator[Image.Image]:
    """Yield the canvas after each frame (PNG specification, third edition, 11.3.6)."""
    canvas = Image.new("RGBA", (12, 10))
    for at, (frame, left, top, disposal, blending) in enumerate(frames):
        before, image = canvas.copy(), frame.convert("RGBA")
        if blending:
            canvas.alpha_composite(image, (left, top))
        else:
            canvas.paste(image, (left, top))
        yield canvas.copy()
        if disposal == 1 or (disposal == 2 and at == 0):
            canvas.paste((0, 0, 0, 0), (left, top, left + image.width, top + image.height))
        elif disposal == 2:
            canvas = before


@pytest.mark.parametrize("seed", range(40))
def test_an_animated_png_is_composed_as_in_browsers(run: Run, tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    kind, fallback = draw.choice([0, 2, 6]), Image.new("L", (12, 10)) if draw.random() < 0.25 else None
    fallback = fallback.convert(MODES[kind]) if fallback else None
    whole = [draw.random() < 0.5 or (at == 0 and not fallback) for at in range(draw.choice([1, 2, 3, 4]))]
    frames = [apng_frame(draw, kind, whole=each) for each in whole]
    report = run(write_apng(frames, kind, fallback), job(rendition("out", "webp", lossless=True)))
    assert report["failure"] is None
    want = joined(pixels_of(canvas) for canvas in apng_canvases(frames))
    for seen, frame in zip(frames_of(opened(tmp_path / "out")), want, strict=True):
        pairs = zip(seen, frame, strict=True)
        assert all(abs(one - other) <= 1 for pixel, exact in pairs for one, other in zip(pixel, exact, strict=True))


def test_a_frame_of_an_animated_png_outside_the_image_is_not_shown(run: Run) -> None:
    """The animation is damaged. The still image may be shown in its place."""
    frames = [(Image.new("RGB", (12, 10)), 0, 0, 0, 0), (Image.new("RGB", (4, 4)), 10, 8, 0, 0)]
    report = run(write_apng(frames, 2, None))
    assert report["source"] is None or report["source"]["frames"] == 1 or report["failure"] is not None
    assert report["failure"] is None or report["failure"]["kind"] == "damaged_image"


def test_a_small_webp_still_is_opened_as_it_is(made: Made) -> None:
    assert made(encoded(gradient(20, 10), "WEBP", lossless=True)).tobytes() == gradient(20, 10).tobytes()


@pytest.mark.parametrize("fallback", [None, Image.new("RGB", (12, 10), "blue")])
def test_apng_frames_beyond_the_declared_number_are_ignored(
    run: Run, tmp_path: Path, fallback: Image.Image | None
) -> None:
    frames = [(Image.new("RGB", (12, 10), (level, 0, 0)), 0, 0, 0, 0) for level in (10, 90, 170)]
    body = write_apng(frames, 2, fallback)
    place = body.index(b"acTL")
    control = struct.pack(">4s2I", b"acTL", 2, 0)
    body = body[:place] + control + struct.pack(">I", zlib.crc32(control)) + body[place + 16 :]
    assert run(body)["failure"] is None
    with Image.open(tmp_path / "out") as image:
        reds = [frame.convert("RGB").getpixel((0, 0)) for frame in ImageSequence.Iterator(image)]
    assert reds == [(10, 0, 0), (90, 0, 0)]
