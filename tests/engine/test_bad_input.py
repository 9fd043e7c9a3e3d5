"""Bad sources: arbitrary bytes end as one failure with a reason that users understand."""

from __future__ import annotations

import io
import struct
import sys
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ImageFile, features

from pipeline.engine.errors import KINDS

from .conftest import Made, Run, encoded, gradient, job, noise, rendition

PHOTO = encoded(noise((300, 200), 90).convert("RGB"), "JPEG")


def _png_header(width: int, height: int) -> bytes:
    """Build a PNG that declares a size and has almost no data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def _gif(frames: int) -> bytes:
    """Build a GIF with many frames."""
    frame = b"\x21\xf9\x04\x00\x01\x00\x00\x00" + b"\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00"
    return b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff" + frame * frames + b";"


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"", "empty_source", "0 bytes"),
        (b"hello, I am a text file", "not_an_image", "allowed formats: JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "format_not_allowed", "SVG"),
        (b"%PDF-1.7 ...", "format_not_allowed", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "format_not_allowed", "EPS"),
        (PHOTO[: len(PHOTO) // 2], "damaged_image", "truncated"),
        (PHOTO[:40], "damaged_image", "damaged"),
        (encoded(gradient(300, 200))[:700], "damaged_image", "PNG"),
        (encoded(gradient(300, 200), "WEBP")[:500], "damaged_image", "WEBP"),
        (encoded(gradient(300, 200), "AVIF")[:500], "damaged_image", "AVIF"),
        (_png_header(60_000, 60_000), "too_many_pixels", "3,600,000,000"),
        (_png_header(0, 10), "damaged_image", "PNG"),
        (_gif(100_000), "too_many_frames", "500"),
    ],
)
def test_a_bad_source_is_refused_with_its_reason_within_a_second(run: Run, body: bytes, kind: str, words: str) -> None:
    started = time.perf_counter()
    report = run(body)
    assert time.perf_counter() - started < 1
    assert report["failure"]["kind"] == kind
    assert words in report["failure"]["message"]
    assert "<_io" not in report["failure"]["message"]


def test_the_pixels_of_all_frames_count_together(run: Run) -> None:
    frames = [gradient(100, 100).point(lambda v, i=i: (v + i) % 256) for i in range(9)]
    body = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    failure = run(body, job(max_pixels=80_000))["failure"]
    assert failure["kind"] == "too_many_pixels"
    assert "100×100 × 9 frames = 90,000" in failure["message"]


def test_a_format_that_the_allow_list_leaves_out_is_refused(run: Run) -> None:
    failure = run(encoded(gradient(10, 10), "GIF"), job(formats=["JPEG"]))["failure"]
    assert failure["kind"] == "format_not_allowed"


def test_a_source_that_did_not_arrive_is_the_sessions_fault(run: Run, tmp_path: Path) -> None:
    from pipeline.engine.execution import jobs

    failure = jobs.execute_job(job(), tmp_path)["failure"]
    assert failure is not None
    assert KINDS[failure["kind"]].about == "session"


def test_renditions_are_held_to_their_limits(run: Run) -> None:
    body = encoded(gradient(300, 200))
    assert run(body, job(max_rendition_pixels=1000))["failure"]["kind"] == "rendition_too_large"
    assert run(body, job(max_rendition_bytes=100))["failure"]["kind"] == "rendition_too_large"
    wide = job(rendition("a", "webp", ("resize", {"width": 16_000, "enlarge": True})))
    assert run(body, wide)["failure"]["kind"] == "rendition_too_large"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_broken_bytes_never_escape_as_an_exception(run: Run, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "BMP"]))
    body = bytearray(_SAMPLES[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    body = body[: data.draw(st.integers(0, len(body)))]
    failure = run(bytes(body))["failure"]
    assert failure is None or failure["kind"] in KINDS
    assert failure is None or KINDS[failure["kind"]].about == "source"
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


_SAMPLES = {kind: encoded(gradient(40, 30), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "BMP")}


def test_a_camera_file_with_a_second_image_counts_as_one(made: Made) -> None:
    buffer = io.BytesIO()
    gradient(40, 30).save(buffer, "MPO", save_all=True, append_images=[gradient(40, 30)])
    assert made(buffer.getvalue()).size == (40, 30)


@pytest.mark.parametrize("where", ["in", "out"])
def test_missing_codecs_of_pillow_are_reported_first(run: Run, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check = features.check
    monkeypatch.setattr(features, "check", lambda name: name != "avif" and check(name))
    kinds = {"in": ("AVIF", "png"), "out": ("PNG", "avif")}
    source, made = kinds[where]
    body = {"AVIF": _SAMPLES["AVIF"], "PNG": _SAMPLES["PNG"]}[source]
    report = run(body, job(rendition("out", made)))
    assert report["failure"]["kind"] == "unsupported_here"
    assert "AVIF: use another format" in report["failure"]["message"]
    assert report["source"] is None


def test_heic_without_its_decoder_is_a_clear_refusal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    failure = run(heic, job(formats=["HEIF"]))["failure"]
    assert failure["kind"] == "unsupported_here"
