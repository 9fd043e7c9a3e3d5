"""Findings of fuzzing the engine in minimal form. Each of these files once broke it."""

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
    """Build a GIF of frames at (left, top, width, height).

    Pixels of value 0 are transparent in the first `clear` frames. `disposal` is the disposal method (2: restore the
    background). A frame holds at most 12,000 pixels: a decoder misses the others only when it gets there.
    """
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    parts = [head]
    for number, (left, top, width, height) in enumerate(frames):
        flags = disposal << 2 | (number < clear)
        parts.append(b"!\xf9\x04" + struct.pack("<BHBB", flags, hundredths, 0, 0))
        parts.append(b"," + struct.pack("<HHHHB", left, top, width, height, 0) + _pixels(width * height))
    return b"".join([*parts, b";"])


def _pixels(count: int) -> bytes:
    """Encode zeros as LZW data with a clear code before every pixel, so that all codes have 3 bits."""
    bits, length = 0, 0
    for code in [4, 0] * min(count, 12_000) + [5]:
        bits |= code << length
        length += 3
    data = bits.to_bytes(-(-length // 8), "little")
    blocks = [data[at : at + 255] for at in range(0, len(data), 255)]
    return b"\x02" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def run(body: bytes, folder: Path, document: Job) -> Report:
    """Run a job in a folder."""
    (folder / "in.bin").write_bytes(body)
    return jobs.execute_job(document, folder)


@contextmanager
def memory_limit(megabytes: int) -> Iterator[None]:
    """Limit the additional memory of this process. Decoders allocate outside of Python, so the system must limit it."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (megabytes << 20), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("box", [(0, 0, 65_535, 49_217), (48_106, 0, 65_535, 65_535)])
def test_a_first_frame_larger_than_its_screen_is_refused(tmp_path: Path, box: Box) -> None:
    """250 bytes made a decoder fill 3 GB, because its limit was off while the file was opened."""
    with memory_limit(300):
        failure = run(gif(box, disposal=2), tmp_path, job())["failure"]
    assert failure is not None
    assert (failure["kind"], "the limit is 100,000,000" in failure["message"]) == ("too_many_pixels", True)


def test_a_frame_that_grows_the_screen_grows_no_rendition(tmp_path: Path) -> None:
    document = job(rendition("out", "webp"))
    assert run(gif((0, 0, *SCREEN), (30, 20, 40, 30)), tmp_path, document)["failure"] is None
    with Image.open(io.BytesIO((tmp_path / "out").read_bytes())) as image:
        assert image.size == SCREEN


def test_frames_count_with_their_real_size(tmp_path: Path) -> None:
    """The pixel limit covers all frames. Counted by the screen's size, it let 500 frames of any size pass."""
    document = job(rendition("out", "webp"), max_pixels=30_000)
    failure = run(gif((0, 0, 8, 8), *[(0, 0, 100, 100)] * 4, screen=(8, 8)), tmp_path, document)["failure"]
    assert failure is not None
    assert failure["kind"] == "too_many_pixels"


@pytest.mark.parametrize("kind", ["avif", "webp", "png", "gif", "auto"])
def test_a_partly_transparent_animation_is_encoded(tmp_path: Path, kind: str) -> None:
    """AVIF was refused: the first frames had alpha, but none from the frame on that grows the screen."""
    frames = [(0, 0, *SCREEN), (4, 4, 8, 8), (0, 0, 48, 50)]
    report = run(gif(*frames, clear=2), tmp_path, job(rendition("out", kind)))
    assert report["failure"] is None


def test_equal_frames_longer_than_the_limit_of_gif_are_kept(tmp_path: Path) -> None:
    body = gif(*[(0, 0, *SCREEN)] * 4, hundredths=65_535)
    report = run(body, tmp_path, job(rendition("out", "gif")))
    assert report["failure"] is None
    with Image.open(io.BytesIO((tmp_path / "out").read_bytes())) as image:
        info: dict[str, Any] = dict(image.info)
    assert info.get("duration", 0) <= 655_350


def test_short_and_long_equal_frames_are_kept(tmp_path: Path) -> None:
    """Each got at least 10 ms, and their sum exceeded the limit of GIF again."""
    one = gif(*[(0, 0, *SCREEN)] * 2, hundredths=65_535)
    rest = gif(*[(0, 0, *SCREEN)] * 44, hundredths=1)
    body = one[:-1] + rest[19:]
    assert run(body, tmp_path, job(rendition("out", "gif")))["failure"] is None


def test_frames_that_only_pillow_sees_are_not_encoded(tmp_path: Path) -> None:
    """The AVIF encoder got the open file, counted its frames differently, and failed at the second one."""
    body = gif((0, 0, *SCREEN), (0, 0, 300, 200))
    # Without a palette the pixels are gray.
    hidden = body[:10] + b"\0\0\0" + b"!\x9e\0\x01;\0" + body[19:]
    report = run(hidden, tmp_path, job(rendition("out", "avif"), max_pixels=10_000))
    assert report["failure"] is None
    assert report["source"] is not None
    assert report["source"]["frames"] == 1
