"""What fuzzing the engine found, minimised and made here: each of these once did something that it should not."""

from __future__ import annotations

import io
import resource
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.engine.execution import jobs
from pipeline.engine.protocol import Job, Report
from tests.engine.conftest import job, rendition

Box = tuple[int, int, int, int]
SCREEN = (48, 36)


def gif(
    *frames: Box, screen: tuple[int, int] = SCREEN, clear: int = 0, hundredths: int = 10, disposal: int = 0
) -> bytes:
    """A GIF of frames at (left, top, width, height), the first `clear` of which are see-through where they are 0.

    `disposal` says what becomes of a frame (2: background again). A frame holds no more than 12,000 pixels: what is
    missing is not asked for before a decoder comes to it.
    """
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    parts = [head]
    for number, (left, top, width, height) in enumerate(frames):
        flags = disposal << 2 | (number < clear)
        parts.append(b"!\xf9\x04" + struct.pack("<BHBB", flags, hundredths, 0, 0))
        parts.append(b"," + struct.pack("<HHHHB", left, top, width, height, 0) + _pixels(width * height))
    return b"".join([*parts, b";"])


def _pixels(count: int) -> bytes:
    """LZW data of zeros that never grows its codes: a clear code before every pixel (codes of 3 bits)."""
    bits, length = 0, 0
    for code in [4, 0] * min(count, 12_000) + [5]:
        bits |= code << length
        length += 3
    data = bits.to_bytes(-(-length // 8), "little")
    blocks = [data[at : at + 255] for at in range(0, len(data), 255)]
    return b"\x02" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def run(body: bytes, place: Path, document: Job) -> Report:
    (place / "in.bin").write_bytes(body)
    return jobs.execute_job(document, place)


@contextmanager
def at_most(megabytes: int) -> Iterator[None]:
    """So much memory on top of what is in use: decoders' memory is not Python's, and only the system sees it."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (megabytes << 20), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("box", [(0, 0, 65_535, 49_217), (48_106, 0, 65_535, 65_535)])
def test_a_first_frame_larger_than_its_screen_is_refused_before_it_takes_memory(tmp_path: Path, box: Box) -> None:
    """250 bytes made a decoder fill 3 GB, because its own limit was off while the file was opened."""
    with at_most(300):
        failure = run(gif(box, disposal=2), tmp_path, job())["failure"]
    assert failure is not None
    assert (failure["kind"], "the limit is 100,000,000" in failure["message"]) == ("too_many_pixels", True)


def test_a_later_frame_that_grows_the_screen_does_not_grow_the_rendition(tmp_path: Path) -> None:
    document = job(rendition("out", "webp"))
    assert run(gif((0, 0, *SCREEN), (30, 20, 40, 30)), tmp_path, document)["failure"] is None
    with Image.open(io.BytesIO((tmp_path / "out").read_bytes())) as made:
        assert made.size == SCREEN


def test_frames_that_grow_count_with_what_they_become(tmp_path: Path) -> None:
    """The budget is for all frames; counted by the screen alone, it let 500 frames of any size pass."""
    document = job(rendition("out", "webp"), max_pixels=30_000)
    failure = run(gif((0, 0, 8, 8), *[(0, 0, 100, 100)] * 4, screen=(8, 8)), tmp_path, document)["failure"]
    assert failure is not None
    assert failure["kind"] == "too_many_pixels"


@pytest.mark.parametrize("kind", ["avif", "webp", "png", "gif", "auto"])
def test_an_animation_of_which_a_part_is_see_through_is_encoded(tmp_path: Path, kind: str) -> None:
    """An AVIF was refused: the first frames had alpha, and from the one that grows the screen on there was none."""
    frames = [(0, 0, *SCREEN), (4, 4, 8, 8), (0, 0, 48, 50)]
    report = run(gif(*frames, clear=2), tmp_path, job(rendition("out", kind)))
    assert report["failure"] is None


def test_equal_frames_that_together_last_longer_than_a_gif_can_say_are_kept(tmp_path: Path) -> None:
    body = gif(*[(0, 0, *SCREEN)] * 4, hundredths=65_535)
    report = run(body, tmp_path, job(rendition("out", "gif")))
    assert report["failure"] is None
    with Image.open(io.BytesIO((tmp_path / "out").read_bytes())) as made:
        info: dict[str, Any] = dict(made.info)
    assert info.get("duration", 0) <= 655_350


def test_many_short_frames_beside_long_ones_that_are_all_equal_are_kept(tmp_path: Path) -> None:
    """Each was given ten milliseconds at least, and together they were more again than a GIF can say."""
    one = gif(*[(0, 0, *SCREEN)] * 2, hundredths=65_535)
    rest = gif(*[(0, 0, *SCREEN)] * 44, hundredths=1)
    body = one[:-1] + rest[19:]
    assert run(body, tmp_path, job(rendition("out", "gif")))["failure"] is None


def test_frames_that_only_pillow_sees_are_not_encoded(tmp_path: Path) -> None:
    """The encoder of AVIF was given the open file, counted its frames in its own way, and broke on the second one."""
    body = gif((0, 0, *SCREEN), (0, 0, 300, 200))
    # Without a palette the pixels are gray, and are taken as they are.
    hidden = body[:10] + b"\0\0\0" + b"!\x9e\0\x01;\0" + body[19:]
    report = run(hidden, tmp_path, job(rendition("out", "avif"), max_pixels=10_000))
    assert report["failure"] is None
    assert report["source"] is not None
    assert report["source"]["frames"] == 1
