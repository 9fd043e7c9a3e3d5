"""HDR gain maps: kept through crop, resize and orientation; dropped, and said so, in every other case."""

from __future__ import annotations

import io
import random
import re
import struct
import xml.etree.ElementTree as ET
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.quality import ultra_hdr
from benchmarks.quality.ultra_hdr import Gains, Layout
from pipeline.engine.execution.gain_map_plan import MAP_PRESERVING
from pipeline.engine.protocol import Job, RenditionReport
from pipeline.engine.transforms.registry import TRANSFORMS

from .conftest import BACK, Run, encoded, gradient, job, noise, opened, rendition, steps
from .measures import worst
from .profiles import display_p3, linear_gray

SIZE = (240, 160)
GAINS = Gains(low=(-0.5,), high=(2.5,), gamma=(0.8,), headroom=(0.0, 2.5))
COLOR = Gains((-0.5, -0.25, 0.0), (2.5, 2.0, 3.0), (0.8, 1.0, 1.25), (0.01, 0.02, 0.03), (0.015625,), (0.125, 3.0))
MAP_SIZE = (60, 40)


@cache
def base_image() -> Image.Image:
    """Draw an image that is nowhere darker than 0.05 in linear light."""
    return gradient(*SIZE).point([60 + value * 190 // 255 for value in range(256)] * 3)


@cache
def map_image(mode: str = "L", size: tuple[int, int] = MAP_SIZE) -> Image.Image:
    """Draw gains that differ at each place and in each channel."""
    drawn = gradient(*size)
    return drawn if mode == "RGB" else drawn.getchannel(0)


def source(gains: Gains = GAINS, mode: str = "L", **layout: Any) -> bytes:
    """Write an Ultra HDR file."""
    return ultra_hdr.write(base_image(), map_image(mode), gains, Layout(**layout))


def keeping(*named: tuple[str, dict[str, Any]], kind: str = "jpeg", **changes: Any) -> Job:
    """Build a job whose rendition keeps the gain map."""
    output = {"keep": ["gain_map"], **changes.pop("output", {})}
    limits = {key: changes.pop(key) for key in ("max_pixels", "max_rendition_bytes") if key in changes}
    options = {"quality": 95, "subsampling": "4:4:4"} if kind == "jpeg" else {}
    document = job(rendition("out", kind, *named, **options), **limits, **changes)
    document["renditions"][0]["output"] = output
    return document


class Keep:
    """Run jobs whose rendition keeps the gain map, and read the result with another reader."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.run, self.folder = run, folder

    def report(self, body: bytes, document: Job) -> RenditionReport:
        """Return the report of the only rendition."""
        made = self.run(body, document)
        assert made["failure"] is None, made["failure"]
        return made["renditions"][0]

    def file(self, body: bytes, document: Job) -> bytes:
        """Return the rendition; it must have a gain map."""
        assert "gain_map" not in self.report(body, document)["dropped"]
        return (self.folder / "out").read_bytes()

    def dropped(self, body: bytes, document: Job) -> bytes:
        """Return the rendition; it must be an ordinary file, and the report must say so."""
        assert "gain_map" in self.report(body, document)["dropped"]
        made = (self.folder / "out").read_bytes()
        assert all(mark not in made for mark in (b"hdrgm", b"21496", b"MPF\0", b"GainMap"))
        return made

    def error(
        self,
        body: bytes,
        document: Job,
        box: tuple[float, float, float, float] | None = None,
        turn: Image.Transpose | None = None,
    ) -> float:
        """Return the error of the HDR image in stops that 95 % of the pixels keep."""
        wanted = ultra_hdr.reconstruct(*ultra_hdr.read(body))
        if turn is not None:
            wanted = [band.transpose(turn) for band in wanted]
        base, gain, gains = ultra_hdr.read(self.file(body, document))
        got = ultra_hdr.reconstruct(base, gain, gains)
        return ultra_hdr.stops_apart(ultra_hdr.resized(wanted, base.size, box), got, ultra_hdr.linear(base))


@pytest.fixture
def keep(run: Run, tmp_path: Path) -> Keep:
    """Return helpers for jobs that keep the gain map."""
    return Keep(run, tmp_path)


def segments(body: bytes) -> list[tuple[int, int, bytes]]:
    """Return marker, offset of the data, and data of all segments before the pixels."""
    found, at = [], 2
    while body[at + 1] != 0xDA:
        assert body[at] == 0xFF
        end = at + 2 + int.from_bytes(body[at + 2 : at + 4], "big")
        found.append((body[at + 1], at + 4, body[at + 4 : end]))
        at = end
    return found


def parts(body: bytes) -> tuple[bytes, bytes]:
    """Split a file at its gain map, by the multi-picture index."""
    offset, index = next((at, data) for marker, at, data in segments(body) if data.startswith(b"MPF\0"))
    entries = struct.unpack(">IIIHH IIIHH", index[-32:])
    first, second, start = entries[1], entries[6], offset + 4 + entries[7]
    assert (first, first + second) == (start, len(body))
    return body[:first], body[first:]


@pytest.mark.parametrize(
    ("named", "box"),
    [
        ([], None),
        ([("resize", {"width": 120})], None),
        ([("resize", {"width": 50})], None),
        ([("resize", {"width": 300, "enlarge": True})], None),
        ([("resize", {"width": 120, "height": 120, "mode": "stretch"})], None),
        ([("resize", {"width": 120, "height": 60, "mode": "contain"}), ("crop", {"aspect": "1:1"})], "dropped"),
        ([("resize", {"width": 120, "height": 80, "mode": "contain"})], None),
        ([("crop", {"box": [13, 7, 218, 144]})], (13, 7, 218, 144)),
        ([("crop", {"box": ["10%", "10%", "60%", "90%"]}), ("resize", {"width": 70})], (24, 16, 144, 144)),
        ([("resize", {"width": 80, "height": 80, "mode": "cover", "gravity": "right"})], (80, 0, 240, 160)),
        ([("resize", {"width": 90, "height": 77, "mode": "cover"})], (26.493506, 0, 213.506494, 160)),
        ([("crop", {"aspect": "1:1", "gravity": "left"}), ("crop", {"box": [31, 30, 131, 131]})], (31, 30, 131, 131)),
    ],
)
@pytest.mark.parametrize(("gains", "mode"), [(GAINS, "L"), (GAINS, "RGB"), (COLOR, "RGB"), (COLOR, "L")])
def test_the_hdr_image_follows_crop_and_resize(
    keep: Keep, named: list[tuple[str, dict[str, Any]]], box: Any, gains: Gains, mode: str
) -> None:
    if box == "dropped":
        keep.dropped(source(gains, mode), keeping(*named))
        return
    assert keep.error(source(gains, mode), keeping(*named), box) <= 0.05


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_gain_map_is_turned_with_the_image(keep: Keep, orientation: int) -> None:
    turned, stored = BACK[orientation], source()
    if turned is not None:
        turn = Image.Transpose(turned)
        stored = ultra_hdr.write(
            base_image().transpose(turn), map_image().transpose(turn), GAINS, Layout(orientation=orientation)
        )
    made = keep.file(stored, keeping(("crop", {"box": [21, 9, 221, 149]}), ("resize", {"width": 100})))
    upright = keep.file(source(), keeping(("crop", {"box": [21, 9, 221, 149]}), ("resize", {"width": 100})))
    base, gain, gains = ultra_hdr.read(made)
    wanted, wanted_gain, _ = ultra_hdr.read(upright)
    assert (base.size, gain.size, gains) == (wanted.size, wanted_gain.size, GAINS)
    for one, other in ((base, wanted), (gain, wanted_gain)):
        assert worst(one, other) <= 6
    assert 0x0112 not in Image.open(io.BytesIO(made)).getexif()


@pytest.mark.parametrize("layout", [{}, {"iso": False}, {"xmp": False}, {"mpf": False}, {"directory": False}])
@pytest.mark.parametrize("more", [{}, {"order": "<"}, {"common_denominator": True}])
def test_every_way_to_store_a_gain_map_is_read(keep: Keep, layout: dict[str, Any], more: dict[str, Any]) -> None:
    made = keep.file(source(COLOR, "RGB", **layout, **more), keeping(("resize", {"width": 120})))
    _, gain, gains = ultra_hdr.read(made)
    assert gain.mode == "RGB"
    flat = [value for column in gains.columns() for value in (column * 3)[:3]]
    assert flat == pytest.approx([value for column in COLOR.columns() for value in (column * 3)[:3]], abs=1e-5)
    assert gains.headroom == pytest.approx(COLOR.headroom, abs=1e-5)


def test_iso_files_without_any_xmp_are_read(keep: Keep) -> None:
    made = keep.file(source(xmp=False, directory=False), keeping(("resize", {"width": 120})))
    assert ultra_hdr.read(made)[2].high == (2.5,)


@pytest.mark.parametrize("gains", [GAINS, COLOR])
def test_all_offsets_and_lengths_of_the_file_are_right(keep: Keep, gains: Gains) -> None:
    made = keep.file(source(gains, "RGB"), keeping(("resize", {"width": 120})))
    image, gain = parts(made)
    assert image.endswith(b"\xff\xd9")
    assert gain.startswith(b"\xff\xd8")
    assert gain.endswith(b"\xff\xd9")
    packets = [data.split(b"\0", 1)[1] for marker, _, data in segments(image) if marker == 0xE1]
    assert len(packets) == 1
    item = "{http://ns.google.com/photos/1.0/container/item/}"
    tree = ET.fromstring(packets[0])  # noqa: S314 - generated by this project
    items = [each for each in tree.iter() if each.get(item + "Semantic")]
    assert [each.get(item + "Semantic") for each in items] == ["Primary", "GainMap"]
    assert items[1].get(item + "Length") == str(len(gain))
    iso = b"urn:iso:std:iso:ts:21496:-1\0"
    assert [data for _, _, data in segments(image) if data.startswith(iso)] == [iso + bytes(4)]
    (binary,) = [data[len(iso) :] for _, _, data in segments(gain) if data.startswith(iso)]
    count = 3 if gains is COLOR else 1
    assert len(binary) == 5 + 16 + 40 * count
    assert binary[:5] == bytes((0, 0, 0, 0, 0xC0 if count == 3 else 0x40))
    numbers = struct.unpack(">" + "iI" * (2 + 5 * count), binary[5:])
    values = [above / below for above, below in zip(numbers[::2], numbers[1::2], strict=True)]
    assert values[:4] == pytest.approx([*gains.headroom, gains.low[0], gains.high[0]])
    with Image.open(io.BytesIO(made)) as shown:
        shown.load()
        assert shown.size == (120, 80)


@pytest.mark.parametrize("name", sorted(set(TRANSFORMS) - MAP_PRESERVING))
@pytest.mark.parametrize("shared", [True, False])
def test_every_other_transform_drops_the_gain_map(keep: Keep, tmp_path: Path, name: str, shared: bool) -> None:
    step = (name, TRANSFORMS[name].example)
    asset = {value: "asset" for key, value in step[1].items() if key in TRANSFORMS[name].assets}
    (tmp_path / "asset").write_bytes(encoded(Image.new("RGBA", (9, 9), "red")))
    document = keeping(*([] if shared else [step]), shared=steps(step) if shared else [], assets=asset)
    made = keep.dropped(source(base_profile=display_p3()), document)
    plain = job(*document["renditions"], shared=document["transforms"], assets=asset)
    plain["renditions"][0]["output"] = {"keep": []}
    keep.report(source(base_profile=display_p3()), plain)
    assert (tmp_path / "out").read_bytes() == made


@pytest.mark.parametrize("kind", ["png", "webp", "avif", "tiff", "gif", "auto"])
def test_other_formats_drop_the_gain_map(keep: Keep, kind: str) -> None:
    assert "gain_map" in keep.report(source(), keeping(kind=kind))["dropped"]


def test_a_recipe_that_does_not_keep_the_gain_map_drops_it(keep: Keep) -> None:
    document = keeping()
    document["renditions"][0]["output"] = {"keep": ["icc", "exif", "copyright"]}
    keep.dropped(source(), document)


def test_the_format_of_the_source_is_jpeg(keep: Keep) -> None:
    assert keep.error(source(), keeping(kind="keep")) <= 0.1


def test_the_image_keeps_its_profile_and_other_renditions_do_not(run: Run, tmp_path: Path) -> None:
    body = source(base_profile=display_p3())
    document = keeping(("resize", {"width": 120}))
    document["renditions"].append(rendition("plain", "png", ("resize", {"width": 120})))
    report = run(body, document)
    assert [each["dropped"] for each in report["renditions"]] == [[], ["gain_map"]]
    kept, plain = opened(tmp_path / "out"), opened(tmp_path / "plain")
    assert kept.info["icc_profile"] == display_p3()
    assert "icc_profile" not in plain.info
    alone = job(rendition("alone", "png", ("resize", {"width": 120})))
    run(body, alone)
    assert worst(plain, opened(tmp_path / "alone")) <= 2
    stored = base_image().resize((120, 80), Image.Resampling.LANCZOS)
    assert worst(kept, stored) <= 8


def test_colors_of_a_canvas_are_those_of_srgb_when_it_drops_the_map(keep: Keep) -> None:
    pad = ("resize", {"width": 200, "height": 200, "mode": "contain", "background": "#ff0000"})
    made = keep.dropped(source(base_profile=display_p3()), keeping(pad))
    red, green, blue = Image.open(io.BytesIO(made)).convert("RGB").getpixel((5, 5))  # type: ignore[misc]
    assert red > 245
    assert max(green, blue) < 10


def test_the_profile_of_the_gain_map_is_kept(keep: Keep) -> None:
    made = keep.file(source(map_profile=display_p3(), base_colors=False), keeping(("resize", {"width": 120})))
    gain = parts(made)[1]
    with Image.open(io.BytesIO(gain)) as mapped:
        assert mapped.info["icc_profile"] == display_p3()
        # Adobe's form cannot express gains in another color space.
        assert "xmp" not in mapped.info
    iso = next(data for _, _, data in segments(gain) if data.startswith(b"urn:iso"))
    assert iso[28:33] == bytes(5)


def test_gains_in_an_unknown_color_space_are_dropped(keep: Keep) -> None:
    keep.dropped(source(map_profile=b"no profile" * 20, base_colors=False), keeping())
    keep.dropped(source(base_colors=False), keeping())
    assert keep.error(source(map_profile=b"no profile" * 20), keeping()) <= 0.05


@pytest.mark.parametrize(
    "layout",
    [
        {"offset_shift": 3},
        {"offset_shift": 1 << 24},
        {"offset_shift": -(1 << 24)},
        {"size_shift": 1},
        {"size_shift": -1},
        {"size_shift": 1 << 30},
        {"length_shift": 1},
        {"length_shift": -1},
        {"length_shift": 1 << 40},
        {"length_shift": -(1 << 20)},
        {"mpf": False, "length_shift": 1},
        {"mpf": False, "length_shift": -1},
        {"mpf": False, "length_shift": 1 << 40},
        {"mpf": False, "trailer": b"trailer"},
        {"mpf": False, "directory": False},
        {"map_cut": 1},
        {"map_cut": 200},
        {"xmp": False, "iso": False},
        {"iso": False, "changes": {"hdrgm:GainMapMax": "hdrgm:Other"}},
        {"iso": False, "changes": {'GainMapMax="2.5"': 'GainMapMax="nan"'}},
        {"iso": False, "changes": {'GainMapMax="2.5"': 'GainMapMax="inf"'}},
        {"iso": False, "changes": {'GainMapMax="2.5"': 'GainMapMax="1e9"'}},
        {"iso": False, "changes": {'GainMapMax="2.5"': 'GainMapMax="-3"'}},
        {"iso": False, "changes": {'Gamma="0.8"': 'Gamma="0"'}},
        {"iso": False, "changes": {'Gamma="0.8"': 'Gamma="-1"'}},
        {"iso": False, "changes": {'HDRCapacityMax="2.5"': 'HDRCapacityMax="0"'}},
        {"iso": False, "changes": {'OffsetSDR="0.015625"': 'OffsetSDR="1e30"'}},
        {"iso": False, "changes": {'BaseRenditionIsHDR="False"': 'BaseRenditionIsHDR="True"'}},
        {"iso": False, "changes": {'hdrgm:Version="1.0"': 'hdrgm:Version="2.0"'}},
        {"iso": False, "changes": {"<x:xmpmeta": '<!DOCTYPE x [<!ENTITY a "aaaa">]><x:xmpmeta'}},
        {"iso": False, "changes": {"</rdf:RDF>": ""}},
        {"iso_body": b""},
        {"iso_body": bytes(5)},
        {"iso_body": bytes(61)},
        {"iso_body": b"\0\1" + bytes(59)},
        {"iso_body": b"\0\0\0\0\x80" + b"\0\0\0\1" * 14},
        {"iso_body": b"\0\0\0\0\x44" + b"\0\0\0\1" * 14},
    ],
    ids=str,
)
def test_a_gain_map_that_lies_is_dropped(keep: Keep, layout: dict[str, Any]) -> None:
    """The indexes contradict the file or each other, or the metadata is no metadata. The SDR image is right."""
    made = keep.dropped(source(**layout), keeping())
    with Image.open(io.BytesIO(made)) as shown:
        assert worst(shown.convert("RGB"), base_image()) <= 12


def test_a_trailer_behind_an_indexed_gain_map_does_not_matter(keep: Keep) -> None:
    made = keep.file(source(trailer=b"a trailer of a camera"), keeping())
    assert b"camera" not in made


def changed(body: bytes, old: bytes, new: bytes) -> bytes:
    """Replace bytes that must be there."""
    assert old in body
    return body.replace(old, new)


@pytest.mark.parametrize("count", [0, 1, 3, 0xFFFFFFFF])
@pytest.mark.parametrize("directory", [True, False])
def test_an_index_with_another_number_of_images_is_no_error(run: Run, count: int, directory: bool) -> None:
    old, body = struct.pack(">HHII", 0xB001, 4, 1, 2), source(directory=directory)
    report = run(changed(body, old, old[:8] + struct.pack(">I", count)), keeping())
    assert report["failure"] is None


@pytest.mark.parametrize("entries", [0, 16, 17, 0xFFFFFFF0])
@pytest.mark.parametrize("place", [50, 0, 70_000])
@pytest.mark.parametrize("directory", [True, False])
def test_an_index_with_another_length_is_no_error(run: Run, entries: int, place: int, directory: bool) -> None:
    old, body = struct.pack(">HHII", 0xB002, 7, 32, 50), source(directory=directory)
    document = keeping(("crop", {"box": [5, 5, 100, 60]}))
    report = run(changed(body, old, struct.pack(">HHII", 0xB002, 7, entries, place)), document)
    assert report["failure"] is None


def test_a_huge_gain_map_is_dropped_before_it_is_decoded(keep: Keep) -> None:
    """The frame header of the gain map claims 65,000 × 65,000 pixels."""
    body = source()
    at = body.rindex(b"\xff\xc0")
    keep.dropped(body[: at + 5] + struct.pack(">HH", 65_000, 65_000) + body[at + 9 :], keeping())


def test_pixels_of_the_gain_map_count_toward_the_limit(keep: Keep) -> None:
    pixels = SIZE[0] * SIZE[1]
    keep.dropped(source(), keeping(max_pixels=pixels + MAP_SIZE[0] * MAP_SIZE[1] - 1))
    keep.file(source(), keeping(max_pixels=pixels + MAP_SIZE[0] * MAP_SIZE[1]))


@pytest.mark.parametrize("size", [(40, 60), (60, 60), (300, 200), (1, 40)])
def test_a_gain_map_of_another_shape_is_dropped(keep: Keep, size: tuple[int, int]) -> None:
    keep.dropped(ultra_hdr.write(base_image(), map_image("L", size), GAINS), keeping())


@pytest.mark.parametrize("size", [(240, 160), (59, 40), (61, 40), (24, 16)])
def test_gain_maps_of_other_sizes_are_kept(keep: Keep, size: tuple[int, int]) -> None:
    body = ultra_hdr.write(base_image(), map_image("L", size), GAINS)
    assert keep.error(body, keeping(("crop", {"box": [10, 10, 230, 150]})), (10, 10, 230, 150)) <= 0.1


@pytest.mark.parametrize("size", [(1, 1), (2, 150), (7, 5), (33, 150), (240, 9)])
def test_the_gain_map_has_the_shape_of_the_smallest_rendition(keep: Keep, size: tuple[int, int]) -> None:
    resize = ("resize", {"width": size[0], "height": size[1], "mode": "stretch"})
    base, gain, _ = ultra_hdr.read(keep.file(source(), keeping(resize)))
    assert base.size == size
    assert abs(gain.width * base.height / (gain.height * base.width) - 1) <= 0.01


def test_an_image_without_a_gain_map_reports_nothing(keep: Keep) -> None:
    report = keep.report(encoded(base_image(), "JPEG"), keeping())
    assert report["dropped"] == []


def test_gray_images_keep_their_gain_map_unless_a_profile_converts_them(keep: Keep) -> None:
    gray = base_image().convert("L")
    made = keep.file(ultra_hdr.write(gray, map_image(), GAINS), keeping(("resize", {"width": 120})))
    assert ultra_hdr.read(made)[0].mode == "L"
    keep.dropped(ultra_hdr.write(gray, map_image(), GAINS, Layout(base_profile=linear_gray())), keeping())


def test_cmyk_images_drop_their_gain_map(keep: Keep) -> None:
    keep.dropped(ultra_hdr.write(base_image().convert("CMYK"), map_image(), GAINS), keeping())


def test_a_patched_image_drops_its_gain_map(keep: Keep) -> None:
    body = source(base_quality=50)
    start = body.index(b"\xff\xda")
    damaged = body[: start + 400]
    document = keeping(on_truncated="patch")
    assert keep.report(damaged, document)["extra"] == {"patched": "true"}
    assert b"hdrgm" not in (keep.folder / "out").read_bytes()


def test_max_bytes_holds_for_image_and_gain_map_together(keep: Keep) -> None:
    full = keep.file(source(), keeping())
    gain = len(parts(full)[1])
    limit = len(full) * 2 // 3
    body = keep.file(source(), keeping(output={"max_bytes": limit}))
    assert len(body) <= limit
    assert len(parts(body)[1]) == gain
    assert len(keep.dropped(source(), keeping(output={"max_bytes": gain * 2}))) <= gain * 2


def test_a_limit_of_bytes_drops_the_gain_map_first(keep: Keep) -> None:
    full = keep.file(source(), keeping())
    keep.dropped(source(), keeping(max_rendition_bytes=len(full) - 1))


def test_the_own_file_of_the_source_gets_the_gain_map_too(keep: Keep) -> None:
    body = source(base_quality=20, base_profile=display_p3())
    made = keep.file(body, keeping(output={"if_larger": "source"}))
    image, _ = parts(made)
    with Image.open(io.BytesIO(made)) as one, Image.open(io.BytesIO(body)) as other:
        assert one.tobytes() == other.tobytes()
        assert one.info["icc_profile"] == display_p3()
    assert len(image) < len(body)
    assert keep.error(body, keeping(output={"if_larger": "source"})) <= 0.05


def with_packet(body: bytes, old: bytes, new: bytes) -> bytes:
    """Replace bytes in the XMP packet of the image. Offsets of the index count from itself, which moves along."""
    at, packet = next((at, data) for _, at, data in segments(body) if data.startswith(b"http://ns.adobe.com/xap"))
    edited = changed(packet, old, new)
    return body[: at - 2] + struct.pack(">H", len(edited) + 2) + edited + body[at + len(packet) :]


def test_rights_and_gain_map_share_one_packet(keep: Keep) -> None:
    rights = (
        b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        b'<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">ours</rdf:li></rdf:Alt></dc:rights></rdf:Description>'
        b"</rdf:RDF>"
    )
    body = with_packet(source(), b"</rdf:RDF>", rights)
    document = keeping(("resize", {"width": 120}), output={"keep": ["gain_map", "xmp_rights"]})
    image, gain = parts(keep.file(body, document))
    (kept,) = [data for _, _, data in segments(image) if data.startswith(b"http://ns.adobe.com/xap")]
    tree = ET.fromstring(kept.split(b"\0", 1)[1])  # noqa: S314 - generated by this project
    assert "ours" in [each.text for each in tree.iter()]
    assert f'Item:Length="{len(gain)}"'.encode() in kept


@pytest.mark.parametrize("mpf", [True, False])
def test_a_motion_photo_keeps_the_gain_map_without_the_video(keep: Keep, mpf: bool) -> None:
    video = b"\0\0\0\x18ftypmp42" + bytes(5000)
    item = b'<rdf:li><Container:Item Item:Semantic="MotionPhoto" Item:Mime="video/mp4" Item:Length="%d"/></rdf:li>'
    body = with_packet(source(mpf=mpf, trailer=video), b"</rdf:Seq>", item % len(video) + b"</rdf:Seq>")
    report = keep.report(body, keeping(("resize", {"width": 120})))
    assert report["dropped"] == ["motion_photo"]
    assert len((keep.folder / "out").read_bytes()) < 6000


def test_the_container_directory_may_use_padding_and_elements(keep: Keep) -> None:
    body = source(mpf=False, trailer=bytes(77))
    body = with_packet(body, b'Item:Semantic="GainMap"', b'Item:Padding="77" Item:Semantic="GainMap"')
    keep.file(body, keeping())
    body = source(mpf=False)
    length = re.search(rb'Item:Length="(\d+)"', body)
    assert length is not None
    old = b'<Container:Item Item:Semantic="GainMap" Item:Mime="image/jpeg" ' + length[0] + b"/>"
    new = b"<Container:Item><Item:Semantic>GainMap</Item:Semantic><Item:Length>%s</Item:Length></Container:Item>"
    keep.file(with_packet(body, old, new % length[1]), keeping())


def test_a_gain_map_of_apple_without_metadata_is_dropped(keep: Keep) -> None:
    """Before ISO 21496-1, the brightness was in maker notes."""
    packet = b'<x xmlns:a="http://ns.apple.com/HDRGainMap/1.0/" a:HDRGainMapVersion="65536"/>'
    body = source(xmp=False, iso=False, directory=False)
    start = body.rindex(b"\xff\xd8\xff\xe0")
    segment = b"\xff\xe1" + struct.pack(">H", 31 + len(packet)) + b"http://ns.adobe.com/xap/1.0/\0" + packet
    body = body[: start + 2] + segment + body[start + 2 :]
    size = struct.pack(">I", len(body) - start - len(segment))
    at = body.index(b"MPF\0")
    place = body.index(size, at)
    body = body[:place] + struct.pack(">I", len(body) - start) + body[place + 4 :]
    keep.dropped(body, keeping())


def test_nothing_of_the_metadata_is_copied(keep: Keep) -> None:
    text = "text of the source"
    changes = {
        "<rdf:Description": f'<rdf:Description xmlns:s="s" s:s="{text}"',
        'GainMapMax="2.5"': 'GainMapMax=" 2.50 "',
    }
    made = keep.file(source(iso=False, changes=changes), keeping())
    assert text.encode() not in made
    assert re.search(rb'hdrgm:GainMapMax="2\.5"', made)


def test_two_gain_maps_in_the_directory_are_dropped(keep: Keep) -> None:
    body = source(mpf=False)
    keep.dropped(changed(body, b'Item:Semantic="Primary"', b'Item:Semantic="GainMap"'), keeping())


@pytest.mark.parametrize("seed", range(40))
def test_damaged_files_never_fail_for_their_gain_map(run: Run, seed: int) -> None:
    """Bytes of the headers of both images change at random."""
    chance, body = random.Random(seed), bytearray(source(COLOR, "RGB", **({"mpf": False} if seed % 3 == 0 else {})))
    second = body.rindex(b"\xff\xd8\xff\xe0")
    first = body.index(b"http://ns.adobe.com")
    for _ in range(1 + seed % 5):
        start = first if chance.random() < 0.5 else second
        body[start + chance.randrange(30, 900)] = chance.randrange(256)
    report = run(bytes(body), keeping(("resize", {"width": 100})))
    if report["failure"] is not None:
        assert report["failure"]["kind"] in {"damaged_image", "too_many_pixels"}
        report = run(bytes(body), job(rendition("out", "jpeg", ("resize", {"width": 100}))))
        assert report["failure"] is not None


def test_deep_xmp_is_no_error(keep: Keep) -> None:
    deep = "<a>" * 5_000 + "</a>" * 5_000
    keep.file(source(iso=False, changes={"</rdf:RDF>": f"{deep}</rdf:RDF>"}), keeping())


def test_noise_keeps_its_brightness(keep: Keep) -> None:
    """Averages of light, not of gains, decide: the gain map differs at each pixel."""
    grain = noise(SIZE, 40)
    body = ultra_hdr.write(base_image(), grain, replace(GAINS, gamma=(1.0,)), Layout(map_quality=100, base_quality=100))
    assert keep.error(body, keeping(("resize", {"width": 60}))) <= 0.06


def test_a_label_outlasts_the_gain_map(keep: Keep) -> None:
    label = (
        b'<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        b'Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/>'
        b"</rdf:RDF>"
    )
    body = with_packet(source(), b"</rdf:RDF>", label)
    full = keep.report(body, keeping())
    assert full["dropped"] == []
    for most in range(full["size"], 1000, -400):
        dropped = keep.report(body, keeping(output={"max_bytes": most}))["dropped"]
        assert dropped in ([], ["gain_map"], ["ai_label", "gain_map"])
        if "ai_label" in dropped:
            break


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_rendition_can_be_a_source(keep: Keep, mode: str) -> None:
    first = keep.file(source(COLOR if mode == "RGB" else GAINS, mode), keeping(("resize", {"width": 200})))
    assert keep.error(first, keeping(("crop", {"box": [20, 20, 180, 120]})), (20, 20, 180, 120)) <= 0.05


@pytest.mark.parametrize("size", [(160, 120), (33, 57), (7, 5)])
@pytest.mark.parametrize(("gains", "mode"), [(GAINS, "L"), (COLOR, "RGB")])
def test_libvips_reads_the_gain_map(keep: Keep, size: tuple[int, int], gains: Gains, mode: str) -> None:
    pyvips = pytest.importorskip("pyvips")
    resize = ("resize", {"width": size[0], "height": size[1], "mode": "cover"})
    made = keep.file(source(gains, mode), keeping(resize))
    image = pyvips.Image.uhdrload_buffer(made)
    assert (image.width, image.height) == size
    assert image.get("gainmap-max-content-boost") == pytest.approx([2**high for high in (gains.high * 3)[:3]], rel=1e-4)
    base, gain, read = ultra_hdr.read(made)
    if mode == "L":  # libvips decodes the values of a color map as sRGB before it uses them
        vips = [Image.frombytes("F", size, bytes(image.uhdr2scRGB()[at].write_to_memory())) for at in range(3)]
        mine = ultra_hdr.reconstruct(base, gain, read)
        assert ultra_hdr.stops_apart(mine, vips, ultra_hdr.linear(base)) <= 0.1


def test_files_of_libultrahdr_are_read(keep: Keep) -> None:
    """Libvips writes with libultrahdr: only the binary form, and the index directly before the pixels."""
    pyvips = pytest.importorskip("pyvips")
    light = [band.point([(value / 255) ** 2 * 5 for value in range(256)], "F") for band in base_image().split()]
    planes = [pyvips.Image.new_from_memory(band.tobytes(), *SIZE, 1, "float") for band in light]
    body = planes[0].bandjoin(planes[1:]).copy(interpretation="scrgb").uhdrsave_buffer(Q=95)
    assert b"hdrgm" not in body
    box = (20, 10, 220, 150)
    assert keep.error(body, keeping(("crop", {"box": [*box]})), box) <= 0.05
    assert keep.error(body, keeping(("resize", {"width": 120}))) <= 0.05
