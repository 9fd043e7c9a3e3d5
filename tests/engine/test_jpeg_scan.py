"""Damage of a JPEG that its markers show. The decoder only warns about it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from pipeline.engine.decode import jpeg_scan
from pipeline.engine.decode.jpeg_scan import find_damage

from .conftest import Run, encoded, job, steps
from .valid_files import photo

SIZE = (160, 120)
PLAIN = encoded(photo(SIZE), "JPEG", quality=90)
PROGRESSIVE = encoded(photo(SIZE), "JPEG", quality=90, progressive=True)
RESTARTS = encoded(photo(SIZE), "JPEG", quality=90, restart_marker_blocks=3)
FILES = {"baseline": PLAIN, "progressive": PROGRESSIVE, "restarts": RESTARTS}
END = b"\xff\xd9"


def scan_of(body: bytes) -> int:
    """Return the offset of the first scan's pixel data."""
    place = body.index(b"\xff\xda")
    return place + 2 + int.from_bytes(body[place + 2 : place + 4], "big")


def inserted(body: bytes, marker: bytes, fraction: float = 0.5) -> bytes:
    """Overwrite bytes in the middle of the last scan with a marker, between two bytes that are not 0xFF."""
    start = body.rindex(b"\xff\xda") + 20
    place = start + int((len(body) - start) * fraction)
    while b"\xff" in body[place - 1 : place + len(marker) + 1]:
        place += 1
    return body[:place] + marker + body[place + len(marker) :]


@pytest.mark.parametrize("name", FILES)
def test_intact_files_show_no_damage(name: str) -> None:
    assert find_damage(memoryview(FILES[name])) == ""


@pytest.mark.parametrize("name", FILES)
def test_every_cut_is_found(run: Run, name: str) -> None:
    body, chance = FILES[name], random.Random(15)
    for end in (*chance.choices(range(2, len(body) - 2), k=60), len(body) - 1, len(body) - 2):
        assert find_damage(memoryview(body[:end])) != ""
    for end in (scan_of(body) + 5, len(body) - 30, len(body) - 2, len(body) - 1):
        for cut in (body[:end], body[:end] + bytes(100)):
            failure = run(cut)["failure"]
            assert failure is not None
            assert failure["kind"] == "damaged_image"
            assert "truncated" in failure["message"] or cut.endswith(b"\0")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("marker", [0x01, 0x02, 0xBF, 0xC0, 0xC4, 0xC8, 0xD8, 0xDA, 0xDB, 0xDD, 0xE1, 0xF0, 0xFD, 0xFE])
def test_a_marker_inside_pixel_data_is_found(run: Run, name: str, marker: int) -> None:
    body = inserted(FILES[name], bytes((0xFF, marker)))
    failure = run(body)["failure"]
    assert failure is not None
    assert failure["kind"] == "damaged_image"
    for made in run(body, job(on_truncated="patch"))["renditions"]:
        assert made["extra"] == {"patched": "true"}


@pytest.mark.parametrize("name", FILES)
def test_an_end_marker_inside_pixel_data_is_found(name: str) -> None:
    assert "end" in find_damage(memoryview(inserted(FILES[name], END))) or name == "restarts"
    assert find_damage(memoryview(inserted(FILES[name], END))) != ""


def test_a_restart_marker_in_a_file_without_them_is_found() -> None:
    assert "FFD3" in find_damage(memoryview(inserted(PLAIN, b"\xff\xd3")))


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "out of order": lambda scan: scan.replace(b"\xff\xd2", b"\xff\xd3", 1),
    "exchanged": lambda scan: scan.replace(b"\xff\xd2", b"\xff\xaa").replace(b"\xff\xd3", b"\xff\xd2"),
    "one missing": lambda scan: scan.replace(b"\xff\xd2", b"", 1),
    "one twice": lambda scan: scan.replace(b"\xff\xd2", b"\xff\xd2\xff\xd2", 1),
    "all missing": lambda scan: b"".join(scan.split(b"\xff\xd0")[:1]) + END,
    "eight missing": lambda scan: (
        scan[: scan.index(b"\xff\xd2")] + scan[scan.index(b"\xff\xd2", scan.index(b"\xff\xd2") + 2) :]
    ),
    "ten too many": lambda scan: (
        scan.removesuffix(END) + b"\x12\x34".join(bytes((0xFF, 0xD0 + n % 8)) for n in range(40)) + END
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_wrong_restart_markers_are_found(run: Run, name: str) -> None:
    start = scan_of(RESTARTS)
    failure = run(RESTARTS[:start] + CHANGES[name](RESTARTS[start:]))["failure"]
    assert failure is not None
    assert failure["kind"] == "damaged_image"


def test_missing_scans_are_found() -> None:
    first = scan_of(PROGRESSIVE)
    after = PROGRESSIVE.index(b"\xff\xc4", first)
    assert find_damage(memoryview(PROGRESSIVE[:after] + END)) == ""  # all components, at a low quality
    chroma = PROGRESSIVE.replace(
        PROGRESSIVE[PROGRESSIVE.index(b"\xff\xda") :][:14], b"\xff\xda\0\x08\x01\x01\0\0\0\x10"
    )
    assert find_damage(memoryview(chroma)) != ""


def test_damage_behind_a_crop_of_the_first_rows_is_found(run: Run) -> None:
    """The engine decodes only the first rows of this job; the markers are checked to the end."""
    tall = encoded(photo((200, 800)), "JPEG", quality=90)
    document = job(shared=steps(("crop", {"box": [0, 0, 100, 60]})))
    assert run(tall, document)["failure"] is None
    assert run(inserted(tall, b"\xff\x02", 0.9), document)["failure"] is not None


def test_a_check_takes_little_time() -> None:
    many = PLAIN.removesuffix(END) + b"\x55\xff\x00" * 3_000_000 + END
    restarts = RESTARTS.removesuffix(END) + b"".join(bytes((0xFF, 0xD0 + n % 8)) for n in range(1_000_000)) + END
    comments = PLAIN.removesuffix(END) + b"\xff\xfe\0\2" * 5_000_000 + END
    for body in (many, restarts, comments):
        started = time.perf_counter()
        find_damage(memoryview(body))
        assert time.perf_counter() - started < 1.5


@pytest.mark.parametrize("seed", range(20))
def test_arbitrary_bytes_raise_nothing(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(100):
        body = bytearray(chance.choice([PLAIN, PROGRESSIVE, RESTARTS]))
        for _ in range(chance.randrange(1, 30)):
            body[chance.randrange(len(body))] = chance.choice([0, 0xFF, 0xC0, 0xDA, 0xDD, chance.randrange(256)])
        view = memoryview(bytes(body[: chance.randrange(len(body))]))
        assert isinstance(find_damage(view), str)
        jpeg_scan.restored_height(view)
        jpeg_scan.read_frame(view)
