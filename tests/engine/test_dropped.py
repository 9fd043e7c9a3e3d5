"""Information that a rendition does not carry over: found in every format, kept by name, or listed."""

from __future__ import annotations

import io
import random
import re
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.engine.carried import vocabulary
from pipeline.engine.carried.boxes import find_in_boxes
from pipeline.engine.carried.find import find_carried
from pipeline.engine.carried.findings import Findings
from pipeline.engine.encode.dropped import MEANINGS, NAMES
from pipeline.engine.protocol import Job

from .carriers import (
    AI,
    LABEL,
    PREFIXES,
    box,
    iim,
    jpeg_segment,
    png_chunk,
    resources,
    riff_chunk,
    with_chunks,
    with_segments,
    with_xmp,
    xmp,
    xmp_of,
)
from .conftest import FORMATS, Run, encoded, gradient, job, noise, rendition

HOLDERS = ["jpeg", "png", "webp", "avif", "tiff"]
SOURCES = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "HEIF"]
RIGHTS = (
    'xmpRights:Marked="true" xmpRights:WebStatement="https://example.com/terms" photoshop:Credit="Ann &amp; Co"',
    (
        '<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">© Ann</rdf:li></rdf:Alt></dc:rights>'
        "<dc:creator><rdf:Seq><rdf:li>Ann</rdf:li><rdf:li>Bob</rdf:li></rdf:Seq></dc:creator>"
    ),
)
PRIVATE = 'exif:GPSLatitude="47,22N" xmp:CreatorTool="a secret" photoshop:City="a secret place"'


def making(kind: str = "webp", *named: tuple[str, dict[str, Any]], options: Any = None, **output: Any) -> Job:
    """Build a job with one rendition `out` that accepts every source format."""
    made = rendition("out", kind, *named, **(options or {}))
    made["output"] = output
    return job(made, formats=[*FORMATS, "HEIF"])


def dropped(run: Run, body: bytes, document: Job | None = None) -> list[str]:
    """Run a job that succeeds, and return what its rendition does not carry over."""
    report = run(body, document or making())
    assert report["failure"] is None
    return report["renditions"][0]["dropped"]


def source_with(packet: bytes, kind: str) -> bytes:
    """Encode a source with an XMP packet; skip the test where the format cannot be written."""
    if kind == "HEIF":
        pytest.importorskip("pillow_heif")
    return with_xmp(packet, kind)


def test_the_names_are_sorted_and_explained() -> None:
    assert list(NAMES) == sorted(NAMES) == sorted(MEANINGS)


def test_an_ordinary_image_drops_nothing(run: Run) -> None:
    for kind in FORMATS:
        assert dropped(run, encoded(gradient(40, 30), kind)) == []


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", [*HOLDERS, "gif"])
def test_the_label_is_kept_in_every_format_that_holds_xmp(run: Run, tmp_path: Path, source: str, kind: str) -> None:
    body = source_with(xmp(f"{LABEL} {PRIVATE}", RIGHTS[1]), source)
    assert dropped(run, body, making(kind)) == (["xmp_rights"] if kind != "gif" else ["ai_label", "xmp_rights"])
    made = (tmp_path / "out").read_bytes()
    assert (AI.encode() in xmp_of(made)) == (kind != "gif")
    for hidden in (b"secret", b"GPS", b"Ann"):
        assert hidden not in made
    assert dropped(run, body, making(kind, ai_label="drop")) == ["ai_label", "xmp_rights"]
    assert b"digitalsourcetype" not in (tmp_path / "out").read_bytes().lower()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", HOLDERS)
def test_rights_are_kept_by_name(run: Run, tmp_path: Path, source: str, kind: str) -> None:
    body = source_with(xmp(f"{RIGHTS[0]} {PRIVATE}", RIGHTS[1]), source)
    assert dropped(run, body, making(kind, keep=["xmp_rights"])) == []
    packet = xmp_of((tmp_path / "out").read_bytes()).decode()
    for part in (
        '<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">© Ann</rdf:li></rdf:Alt></dc:rights>',
        "<dc:creator><rdf:Seq><rdf:li>Ann</rdf:li><rdf:li>Bob</rdf:li></rdf:Seq></dc:creator>",
        "<xmpRights:Marked>True</xmpRights:Marked>",
        "<photoshop:Credit>Ann &amp; Co</photoshop:Credit>",
    ):
        assert part in packet
    assert "secret" not in packet
    assert "GPS" not in packet


def test_the_label_stays_with_every_frame_and_with_kept_exif(run: Run, tmp_path: Path) -> None:
    frames = [gradient(40, 30), gradient(40, 30).rotate(180)]
    for source in ("PNG", "WEBP"):
        moving = with_xmp(xmp(LABEL), source, frames[0], save_all=True, append_images=frames[1:], duration=100)
        for kind in ("png", "webp", "avif"):
            assert dropped(run, moving, making(kind)) == []
            assert AI.encode() in xmp_of((tmp_path / "out").read_bytes())
        assert dropped(run, moving, making("jpeg")) == ["animation"]
    exif = Image.Exif()
    exif[0x8298], exif[0x010F] = "someone", "maker"
    for kind in HOLDERS:
        assert dropped(run, with_xmp(xmp(LABEL), "JPEG", exif=exif), making(kind, keep=["exif"])) == []
        with Image.open(tmp_path / "out") as made:
            assert (made.getexif()[0x8298], made.getexif()[0x010F]) == ("someone", "maker")
        assert AI.encode() in xmp_of((tmp_path / "out").read_bytes())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_source_that_is_delivered_gets_a_new_packet(run: Run, tmp_path: Path, kind: str) -> None:
    exif = Image.Exif()
    exif[0x8298], exif[0x010F] = "someone", "a secret"
    image = noise((120, 90), 40)
    body = with_xmp(xmp(f"{LABEL} {PRIVATE}", RIGHTS[1]), kind, image, quality=40, exif=exif)
    options: dict[str, Any] = {"compression": 0} if kind == "PNG" else {"quality": 95}
    document = making(kind.lower(), options=options, if_larger="source", keep=["xmp_rights", "copyright"])
    assert dropped(run, body, document) == []
    made = (tmp_path / "out").read_bytes()
    assert len(made) < len(body)
    assert b"secret" not in made
    packet = xmp_of(made)
    assert AI.encode() in packet
    assert "© Ann".encode() in packet
    with Image.open(io.BytesIO(made)) as shown, Image.open(io.BytesIO(body)) as source:
        assert dict(shown.getexif()) == {0x8298: "someone"}
        assert shown.convert("RGB").tobytes() == source.convert("RGB").tobytes()


def test_a_delivered_webp_without_a_header_gets_one(run: Run, tmp_path: Path) -> None:
    clear = noise((61, 47), 40).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    for image, lossless in ((clear, True), (noise((61, 47), 40), True), (noise((61, 47), 40), False)):
        body = encoded(image, "WEBP", lossless=lossless, quality=30)
        assert body[12:16] in (b"VP8L", b"VP8 ")
        whole = body + riff_chunk(b"XMP ", xmp(LABEL))
        whole = b"RIFF" + struct.pack("<I", len(whole) - 8) + whole[8:]
        options = {"lossless": True, "quality": 1, "effort": 0} if lossless else {"quality": 100}
        assert dropped(run, whole, making("webp", options=options, if_larger="source")) == []
        made = (tmp_path / "out").read_bytes()
        assert AI.encode() in made
        assert body[12:] in made
        with Image.open(io.BytesIO(made)) as shown, Image.open(io.BytesIO(body)) as source:
            assert shown.mode == source.mode
            assert shown.tobytes() == source.tobytes()


@pytest.mark.parametrize(
    "packet",
    [
        xmp(LABEL.replace("cv.iptc.org", "example.com")),
        xmp(LABEL.replace(AI, "trainedAlgorithmicMedia")),
        xmp(LABEL.replace(AI, AI + "&quot;/&gt;")),
        xmp(LABEL, f"<Iptc4xmpExt:DigitalSourceType>{AI}x</Iptc4xmpExt:DigitalSourceType>"),
        xmp(LABEL)[:-2100],
        b'<!DOCTYPE x [<!ENTITY a "b">]>' + xmp(LABEL),
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + xmp(LABEL),
        xmp(LABEL, "<dc:rights>" + "<a>" * 70 + "</a>" * 70 + "</dc:rights>"),
        xmp(LABEL, "<dc:rights>" + "<a/>" * 30_000 + "</dc:rights>"),
        b"DigitalSourceType \xff\xfe",
    ],
    ids=range(10),
)
def test_a_broken_label_is_dropped_and_listed(run: Run, tmp_path: Path, packet: bytes) -> None:
    segment = jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet) if len(packet) < 65_000 else b""
    for body in (
        with_segments(encoded(gradient(40, 30), "JPEG"), segment) if segment else b"",
        with_chunks(encoded(gradient(40, 30)), png_chunk(b"iTXt", b"XML:com.adobe.xmp" + b"\0" * 5 + packet)),
        with_xmp(packet, "WEBP"),
    ):
        if body:
            assert "ai_label" in dropped(run, body, making("jpeg"))
            assert not xmp_of((tmp_path / "out").read_bytes())


def test_labels_deeper_in_the_packet_belong_to_other_images(run: Run) -> None:
    inner = (
        f'<rdf:li rdf:parseType="Resource"><Iptc4xmpExt:DigitalSourceType>{AI}</Iptc4xmpExt:DigitalSourceType></rdf:li>'
    )
    packet = xmp("", f"<xmpMM:Ingredients><rdf:Bag>{inner}</rdf:Bag></xmpMM:Ingredients>")
    assert dropped(run, with_xmp(packet, "JPEG"), making("gif")) == []


def test_a_packet_of_ten_megabytes_costs_little(run: Run) -> None:
    long = xmp(LABEL, f"<dc:rights>{'x' * 10_000_000}</dc:rights>")
    for kind in ("PNG", "WEBP", "TIFF"):
        assert dropped(run, with_xmp(long, kind), making("jpeg")) == ["ai_label", "xmp_rights"]
    padded = xmp(LABEL) + b" " * 10_000_000
    assert dropped(run, with_xmp(padded, "WEBP"), making("jpeg")) == []


def packets() -> Iterator[tuple[str, bytes]]:
    """Yield sources with a labelled packet at an unusual place or in an unusual form, with their formats."""
    packet, keyword = xmp(LABEL), b"XML:com.adobe.xmp\0"
    text = png_chunk(b"iTXt", keyword + b"\0" * 4 + packet)
    yield "PNG", with_chunks(plain("PNG"), text, late=True)
    yield "PNG", with_chunks(plain("PNG"), png_chunk(b"iTXt", keyword + b"\1\0\0\0" + zlib.compress(packet)))
    raw = b"\nxmp\n" + str(len(packet)).encode() + b"\n" + re.sub(rb"(.{72})", rb"\1\n", packet.hex().encode()) + b"\n"
    yield "PNG", with_chunks(plain("PNG"), png_chunk(b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(raw)))
    yield "PNG", with_chunks(plain("PNG"), png_chunk(b"tEXt", b"Raw profile type xmp\0" + raw))
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"):
        yield "TIFF", encoded(gradient(40, 30), "TIFF", tiffinfo={700: packet.decode().encode(encoding)})
    yield "TIFF", encoded(gradient(40, 30), "TIFF", tiffinfo={700: packet}, big_tiff=True)
    yield "TIFF", encoded(Image.new("I;16B", (9, 9)), "TIFF", tiffinfo={700: packet})
    segment = jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)
    yield "JPEG", with_segments(plain(), jpeg_segment(0xFE, b"a"), b"\xff\xff\xff", segment, segment)
    yield (
        "JPEG",
        with_segments(plain(), jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet.strip() + b"\0\0")),
    )
    other = (
        f"<Iptc4xmpExt:DigitalSourceType><rdf:Bag><rdf:li> {AI}\n</rdf:li></rdf:Bag></Iptc4xmpExt:DigitalSourceType>"
    )
    yield "WEBP", with_xmp(xmp("", other), "WEBP")
    yield "WEBP", with_xmp(xmp("", f'<Iptc4xmpExt:DigitalSourceType rdf:resource="{AI}"/>'), "WEBP")
    own = '<d:Description xmlns:d="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:x="{}" x:DigitalSourceType="{}"/>'
    yield "WEBP", with_xmp(xmp("", "", own.format(PREFIXES["Iptc4xmpExt"], AI)), "WEBP")
    default = '<DigitalSourceType xmlns="{}">{}</DigitalSourceType>'
    yield "WEBP", with_xmp(xmp("", default.format(PREFIXES["Iptc4xmpExt"], AI)), "WEBP")


def test_a_label_is_found_in_every_form() -> None:
    for number, (kind, body) in enumerate(packets()):
        with Image.open(io.BytesIO(body)) as image:
            found = find_carried(io.BytesIO(body), kind, image, 0)
        assert f">{AI}<" in found.label, (number, kind)
        assert found.complete == {"ai_label"}, (number, kind)


def test_the_extension_of_a_long_jpeg_packet_is_read(run: Run, tmp_path: Path) -> None:
    guid = b"0123456789ABCDEF0123456789ABCDEF"
    ours = xmp(LABEL)
    parts = [
        jpeg_segment(
            0xE1,
            b"http://ns.adobe.com/xmp/extension/\0" + guid + struct.pack(">II", len(ours), at) + ours[at : at + 900],
        )
        for at in reversed(range(0, len(ours), 900))
    ]
    for named in (True, False):
        main = xmp(f'xmp:Note="{guid.decode() if named else "other"}"')
        body = with_segments(
            encoded(gradient(40, 30), "JPEG"), jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + main), *parts
        )
        assert dropped(run, body, making("png")) == []
        assert (AI.encode() in xmp_of((tmp_path / "out").read_bytes())) == named


def test_rights_of_the_older_block_are_kept_as_xmp(run: Run, tmp_path: Path) -> None:
    block = iim((80, b"Ann"), (80, "Zoë".encode()), (110, b"Agency"), (116, "© Ann".encode()), (5, b"a secret"))
    old = "© Ann".encode("cp1252")
    profile = block.hex().encode()
    raw = b"Raw profile type iptc\0" + f"\niptc\n{len(block):8}\n".encode() + profile
    bodies = [
        with_segments(encoded(gradient(40, 30), "JPEG"), jpeg_segment(0xED, b"Photoshop 3.0\0" + resources(block))),
        with_chunks(encoded(gradient(40, 30)), png_chunk(b"tEXt", raw)),
        encoded(gradient(40, 30), "TIFF", tiffinfo={33723: block}),
        encoded(gradient(40, 30), "TIFF", tiffinfo={34377: resources(block)}),
    ]
    for body in bodies:
        assert dropped(run, body, making("webp")) == ["xmp_rights"]
        assert dropped(run, body, making("webp", keep=["xmp_rights"])) == []
        packet = xmp_of((tmp_path / "out").read_bytes()).decode()
        for text in ("<rdf:li>Zoë</rdf:li>", "<photoshop:Credit>Agency<", "© Ann"):
            assert text in packet
        assert "secret" not in packet
    latin = with_segments(
        encoded(gradient(40, 30), "JPEG"),
        jpeg_segment(0xED, b"Photoshop 3.0\0" + resources(iim((116, old), utf8=False))),
    )
    run(latin, making("webp", keep=["xmp_rights"]))
    assert "© Ann".encode() in xmp_of((tmp_path / "out").read_bytes())


def test_control_characters_of_the_older_block_are_left_out(run: Run, tmp_path: Path) -> None:
    block = iim((80, b"An\x01n"), (110, b"Agency"))
    body = with_segments(plain(), jpeg_segment(0xED, b"Photoshop 3.0\0" + resources(block)))
    assert dropped(run, body, making("webp", keep=["xmp_rights"])) == ["xmp_rights"]
    packet = xmp_of((tmp_path / "out").read_bytes())
    assert b"<photoshop:Credit>Agency<" in packet
    assert b"\x01" not in packet


def test_rights_that_are_too_long_are_left_out_and_listed(run: Run, tmp_path: Path) -> None:
    packet = xmp(f'{LABEL} photoshop:Credit="{"x" * 3000}" photoshop:Source="Ann"')
    assert dropped(run, with_xmp(packet, "JPEG"), making("png", keep=["xmp_rights"])) == ["xmp_rights"]
    kept = xmp_of((tmp_path / "out").read_bytes())
    assert b"xxx" not in kept
    assert b"<photoshop:Source>Ann<" in kept
    assert AI.encode() in kept


@pytest.mark.parametrize("kind", ["webp", "auto", "png"])
def test_a_tiny_file_leaves_the_label_out_instead_of_failing(run: Run, tmp_path: Path, kind: str) -> None:
    body = with_xmp(xmp(LABEL), "PNG", Image.new("RGB", (8, 8), "red"))
    assert dropped(run, body, making(kind, max_bytes=350)) == ["ai_label"]
    assert (tmp_path / "out").stat().st_size <= 350
    assert dropped(run, body, making(kind, max_bytes=1000)) == []
    assert run(body, making("webp", ("resize", {"width": 900, "enlarge": True}), max_bytes=200))["failure"] is not None


def test_structures_are_kept_by_field(run: Run, tmp_path: Path) -> None:
    licensor = (
        '<plus:Licensor><rdf:Seq><rdf:li rdf:parseType="Resource"><plus:LicensorName>Ann</plus:LicensorName>'
        "<plus:LicensorURL>https://example.com</plus:LicensorURL><plus:LicensorStreetAddress>a secret"
        '</plus:LicensorStreetAddress></rdf:li><rdf:li><rdf:Description plus:LicensorName="Bob"/></rdf:li></rdf:Seq>'
        '</plus:Licensor><Iptc4xmpCore:CreatorContactInfo Iptc4xmpCore:CiUrlWork="https://ann.example" '
        'Iptc4xmpCore:CiAdrCity="a secret"/><cc:license rdf:resource="https://creativecommons.org/licenses/by/4.0/"/>'
    )
    assert dropped(run, with_xmp(xmp("", licensor), "PNG"), making("jpeg", keep=["xmp_rights"])) == []
    kept = xmp_of((tmp_path / "out").read_bytes()).decode()
    for part in (
        "<plus:LicensorName>Bob</plus:LicensorName>",
        "<plus:LicensorURL>https://example.com</plus:LicensorURL>",
        "<Iptc4xmpCore:CiUrlWork>https://ann.example</Iptc4xmpCore:CiUrlWork>",
        '<cc:license rdf:resource="https://creativecommons.org/licenses/by/4.0/"/>',
    ):
        assert part in kept
    assert "secret" not in kept


def multi_picture(first: bytes, *others: tuple[int, bytes]) -> bytes:
    """Build a multi-picture file: a JPEG with an index of further images behind it, each with its type."""
    count = 1 + len(others)
    head = b"MM\0*" + struct.pack(">IH", 8, 1) + struct.pack(">HHII", 0xB002, 7, 16 * count, 26) + struct.pack(">I", 0)
    length = 4 + len(head) + 16 * count
    base, behind = 2 + 4 + 4, len(first) + 4 + length
    entries = struct.pack(">IIIHH", 0x030000, behind, 0, 0, 0)
    for kind, body in others:
        entries += struct.pack(">IIIHH", kind, len(body), behind - base, 0, 0)
        behind += len(body)
    return with_segments(first, jpeg_segment(0xE2, b"MPF\0" + head + entries)) + b"".join(body for _, body in others)


def samsung(kind: int) -> bytes:
    """Build the trailer of a Samsung phone with one block."""
    directory = b"SEFH" + struct.pack("<II", 106, 1) + struct.pack("<HHII", 0, kind, 20, 20)
    return b"v" * 20 + directory + struct.pack("<I", len(directory)) + b"SEFT"


def manifests(*histories: tuple[str, ...]) -> bytes:
    """Build a C2PA manifest store with a manifest for each history of source types; the last one is active."""
    described = box(b"jumd", b"c2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\3c2pa\0")
    actions = (
        b"".join(b"\x71digitalSourceType\x78" + bytes([len(label)]) + label.encode() for label in history)
        for history in histories
    )
    return box(b"jumb", described, *(box(b"jumb", box(b"cbor", each)) for each in actions))


def c2pa_segments(store: bytes, length: int = 60_000) -> bytes:
    """Split a manifest store into segments of a JPEG, each of which repeats the header of the box."""
    header, content = store[:8], store[8:]
    parts = [content[at : at + length] for at in range(0, len(content), length)]
    return b"".join(
        jpeg_segment(0xEB, b"JP\0\1" + struct.pack(">I", number + 1) + header + part)
        for number, part in enumerate(parts)
    )


def signed(kind: str, store: bytes) -> bytes:
    """Put a manifest store into an image."""
    body = plain(kind)
    if kind == "JPEG":
        return with_segments(body, c2pa_segments(store, 50))
    if kind == "PNG":
        return with_chunks(body, png_chunk(b"caBX", store))
    if kind == "WEBP":
        body += riff_chunk(b"C2PA", store)
        return body[:4] + struct.pack("<I", len(body) - 8) + body[8:]
    if kind == "TIFF":
        return encoded(gradient(40, 30), "TIFF", tiffinfo={52545: store})
    if kind == "GIF":
        blocks = b"".join(bytes([len(store[at : at + 255])]) + store[at : at + 255] for at in range(0, len(store), 255))
        return body[:-1] + b"\x21\xff\x0bC2PA_GIF\1\0\0" + blocks + b"\0\x3b"
    uuid = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
    return body + box(b"uuid", uuid, b"\0\0\0\0manifest\0" + b"\0" * 8, store)


def plain(kind: str = "JPEG") -> bytes:
    """Encode a small image."""
    return encoded(gradient(40, 30), kind)


def further(sign: bytes) -> bytes:
    """Encode a further image of a multi-picture file with a sign in its metadata."""
    return with_segments(plain(), jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + sign))


SIGNS: dict[str, tuple[bytes, list[str]]] = {
    "ISO gain map": (
        with_segments(plain(), jpeg_segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0")),
        ["gain_map"],
    ),
    "Ultra HDR": (with_xmp(xmp('hdrgm:Version="1.0"'), "JPEG"), ["gain_map"]),
    "Apple's gain map": (multi_picture(plain(), (0, further(b"HDRGainMap:HDRGainMapVersion"))), ["gain_map"]),
    "depth of a portrait": (multi_picture(plain(), (0, further(b"urn:com:apple:photo:2018:aux:disparity"))), ["depth"]),
    "stereo": (multi_picture(plain(), (0x020002, plain())), ["other_images"]),
    "large preview": (multi_picture(plain(), (0x010002, plain())), []),
    "an index that lies": (multi_picture(plain(), (0x020002, plain()))[: -len(plain())], []),
    "motion photo": (with_xmp(xmp('GCamera:MotionPhoto="1"'), "JPEG") + b"video", ["motion_photo"]),
    "no motion photo": (with_xmp(xmp('GCamera:MotionPhoto="0"'), "JPEG"), []),
    "Samsung's motion photo": (plain() + samsung(0x0A30), ["motion_photo"]),
    "Samsung's trailer": (plain() + samsung(0x0A01), []),
    "panorama": (with_xmp(xmp('GPano:ProjectionType="equirectangular"'), "JPEG"), ["panorama"]),
    "16 bits in PNG": (encoded(Image.new("I;16", (9, 9)), "PNG"), ["color_precision"]),
    "16 bits in TIFF": (encoded(Image.new("I;16", (9, 9)), "TIFF"), ["color_precision"]),
    "layers": (
        encoded(gradient(40, 30), "TIFF", tiffinfo={37724: b"Adobe Photoshop Document Data Block\0"}),
        ["layers"],
    ),
    "GeoTIFF": (encoded(gradient(40, 30), "TIFF", tiffinfo={33922: (0.0,) * 6}), ["georeference"]),
    "pages": (encoded(gradient(40, 30), "TIFF", save_all=True, append_images=[gradient(9, 9)]), ["other_images"]),
    "animation": (encoded(gradient(40, 30), "GIF", save_all=True, append_images=[gradient(40, 30).rotate(90)]), []),
}


@pytest.mark.parametrize("name", SIGNS)
def test_information_is_found_and_listed(run: Run, name: str) -> None:
    body, expected = SIGNS[name]
    assert dropped(run, body) == expected


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "AVIF"])
def test_a_manifest_is_found_and_its_label_kept(run: Run, tmp_path: Path, kind: str) -> None:
    capture, composite = AI.replace("trainedA", "digitalCaptureA"), AI.replace("trained", "compositeWithTrained")
    assert dropped(run, signed(kind, manifests(()))) == ["c2pa"]
    for history, expected in (
        ((AI,), AI),
        ((capture,), capture),
        ((capture, composite, capture), composite),
    ):
        body = signed(kind, manifests((capture, AI), history))
        assert dropped(run, body, making("jpeg")) == ["c2pa"]
        assert f">{expected}<".encode() in xmp_of((tmp_path / "out").read_bytes())
        assert dropped(run, body, making("gif")) == ["ai_label", "c2pa"]
    assert dropped(run, signed(kind, manifests(("http://c2pa.org/digitalsourcetype/empty",)))) == ["ai_label", "c2pa"]
    assert dropped(run, signed(kind, manifests((AI,))[:-30])) == ["c2pa"]


def test_a_label_in_xmp_counts_before_that_of_a_manifest(run: Run, tmp_path: Path) -> None:
    other = AI.replace("trainedAlgorithmicMedia", "digitalArt")
    body = with_chunks(with_xmp(xmp(LABEL.replace(AI, other)), "PNG"), png_chunk(b"caBX", manifests((AI,))))
    assert dropped(run, body, making("webp")) == ["c2pa"]
    assert other.encode() in xmp_of((tmp_path / "out").read_bytes())


def test_a_still_of_an_animation_drops_it(run: Run) -> None:
    moving, _ = SIGNS["animation"]
    assert dropped(run, moving, making("jpeg")) == ["animation"]
    assert dropped(run, moving, making("webp", animation="first")) == ["animation"]
    assert dropped(run, moving, making("auto", options={"among": ["jpeg"]})) == ["animation"]


def test_transparency_that_is_filled_is_listed(run: Run) -> None:
    clear = gradient(40, 30)
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    cut = gradient(40, 30)
    cut.putalpha(Image.linear_gradient("L").resize(clear.size).point([0] * 128 + [255] * 128))
    opaque = gradient(40, 30).convert("RGBA")
    expected = {"jpeg": (True, True, False), "gif": (True, False, False), "png": (False, False, False)}
    for kind, lists in expected.items():
        for image, listed in zip((clear, cut, opaque), lists, strict=True):
            assert dropped(run, encoded(image), making(kind)) == (["transparency"] if listed else [])


def test_kept_metadata_that_does_not_fit_is_listed(run: Run) -> None:
    exif = Image.Exif()
    exif[0x8298], exif[0x010F] = "someone", "maker"
    exif.get_ifd(0x8769)[0x829D] = 2.8
    exif.get_ifd(0x8825)[1] = "N"
    body = encoded(gradient(40, 30), "JPEG", exif=exif)
    assert dropped(run, body) == ["copyright"]
    assert dropped(run, body, making("webp", keep=["copyright"])) == []
    everything = ["copyright", "exif", "location"]
    assert dropped(run, body, making("webp", keep=everything)) == []
    assert dropped(run, body, making("tiff", keep=everything)) == ["exif", "location"]
    assert dropped(run, body, making("gif", keep=everything)) == everything
    exif[0x010E] = "x" * 64_000
    long = encoded(gradient(40, 30), "PNG", exif=exif)
    assert dropped(run, long, making("jpeg", keep=everything)) == []
    exif[0x010E] = "x" * 70_000
    longer = encoded(gradient(40, 30), "PNG", exif=exif)
    assert dropped(run, longer, making("jpeg", keep=everything)) == ["exif"]


def heif(*items: bytes, auxiliary: str = "", hidden: bool = False, bits: int = 8, references: bytes = b"") -> bytes:
    """Build the boxes of a HEIF file: the first item is the primary one."""
    entries = [
        box(b"infe", bytes([2, 0, 0, int(hidden and number > 0)]), struct.pack(">HH", number + 1, 0), kind, b"\0")
        for number, kind in enumerate(items)
    ]
    properties = box(b"pixi", b"\0\0\0\0\3", bytes([bits] * 3)) + (
        box(b"auxC", b"\0\0\0\0", auxiliary.encode(), b"\0") if auxiliary else b""
    )
    association = box(b"ipma", b"\0\0\0\0", struct.pack(">IHBB", 1, 1, 1, 0x81))
    return box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(
        b"meta",
        b"\0\0\0\0",
        box(b"pitm", b"\0\0\0\0", struct.pack(">H", 1)),
        box(b"iinf", b"\0\0\0\0", struct.pack(">H", len(items)), *entries),
        box(b"iref", b"\0\0\0\0", references) if references else b"",
        box(b"iprp", box(b"ipco", properties), association),
    )


def reference(kind: bytes, source: int, *targets: int) -> bytes:
    """Build a reference between items."""
    return box(kind, struct.pack(f">HH{len(targets)}H", source, len(targets), *targets))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (heif(b"hvc1"), set()),
        (heif(b"hvc1", bits=10), {"color_precision"}),
        (heif(b"hvc1", b"hvc1"), {"other_images"}),
        (heif(b"hvc1", b"hvc1", hidden=True), set()),
        (heif(b"hvc1", b"hvc1", b"Exif", references=reference(b"thmb", 2, 1)), set()),
        (heif(b"grid", b"hvc1", b"hvc1", references=reference(b"dimg", 1, 2, 3)), set()),
        (heif(b"hvc1", b"hvc1", b"tmap", references=reference(b"dimg", 3, 1, 2)), {"gain_map"}),
        (
            heif(
                b"hvc1",
                b"hvc1",
                auxiliary="urn:com:apple:photo:2020:aux:hdrgainmap",
                references=reference(b"auxl", 2, 1),
            ),
            {"gain_map"},
        ),
        (heif(b"hvc1", auxiliary="urn:mpeg:hevc:2015:auxid:2"), {"depth"}),
        (heif(b"hvc1", auxiliary="urn:mpeg:hevc:2015:auxid:1"), set()),
        (heif(b"av01", auxiliary="urn:mpeg:mpegB:cicp:systems:auxiliary:alpha"), set()),
        (heif(b"av01", auxiliary="urn:mpeg:mpegB:cicp:systems:auxiliary:depth"), {"depth"}),
        (heif(b"hvc1", auxiliary="urn:com:apple:photo:2018:aux:portraiteffectsmatte"), {"auxiliary_images"}),
        (heif(b"hvc1") + box(b"mpvd", b"video"), {"motion_photo"}),
        (box(b"ftyp", b"hevc\0\0\0\0msf1hevc") + box(b"moov", b""), {"animation"}),
    ],
)
def test_boxes_name_what_else_a_file_holds(body: bytes, expected: set[str]) -> None:
    findings = Findings()
    find_in_boxes(memoryview(body), findings)
    assert findings.names == expected


def test_ten_bits_of_a_real_file_are_found(run: Run) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    deep = pillow_heif.from_bytes("RGB;16", (64, 48), random.Random(1).randbytes(64 * 48 * 6))
    deep.save(buffer)
    assert dropped(run, buffer.getvalue()) == ["color_precision"]


def test_extra_channels_are_listed(run: Run) -> None:
    """A TIFF of RGB and two more channels, of which none is alpha."""
    from PIL import TiffImagePlugin

    ifd = TiffImagePlugin.ImageFileDirectory_v2()
    pixels = bytes(range(250)) * 5 * 2
    for tag, value in {
        256: 50, 257: 10, 258: (8,) * 5, 259: 1, 262: 2, 273: 0, 277: 5, 278: 10, 279: len(pixels), 338: (0, 0),
    }.items():  # fmt: skip
        ifd[tag] = value
    head = io.BytesIO(b"II*\0" + struct.pack("<I", 8))
    head.seek(8)
    ifd.save(head)
    assert dropped(run, head.getvalue() + pixels) == ["extra_channels"]


def test_damaged_containers_never_fail_the_search() -> None:
    """Damage in metadata is no damage of the image: the search ends where it is."""
    image, chance = Image.new("L", (1, 1)), random.Random(15)
    bodies = {name: body for name, (body, _) in SIGNS.items()} | {
        f"xmp {kind}": with_xmp(xmp(LABEL, RIGHTS[1]), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF")
    }
    bodies["heif"] = heif(b"hvc1", b"hvc1", b"tmap", auxiliary="a:depth", references=reference(b"dimg", 3, 1, 2))
    for body in bodies.values():
        for _ in range(20):
            broken = bytearray(body[: chance.randrange(len(body))] if chance.random() < 0.3 else body)
            for _ in range(chance.randrange(8)):
                if broken:
                    broken[chance.randrange(min(len(broken), 400))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
            for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "HEIF"):
                stream = io.BytesIO(bytes(broken))
                stream.seek(1)
                found = find_carried(stream, kind, image, 0)
                assert found.names <= set(NAMES)
                assert stream.tell() == 1


def hostile() -> Iterator[tuple[str, bytes]]:
    """Yield files that make the search expensive, with their formats."""
    yield "JPEG", b"\xff\xd8" + b"\xff" * 5_000_000
    yield "JPEG", b"\xff\xd8" + b"\xff\xe1\0\2" * 500_000
    index = multi_picture(plain(), *[(0, plain())] * 40)
    yield "JPEG", index[:2] + index[2 : 4 + int.from_bytes(index[4:6], "big")] * 2000
    yield "JPEG", b"\xff\xd8" + jpeg_segment(0xED, b"Photoshop 3.0\0" + (b"8BIM" + b"\0" * 8) * 5000) * 100
    bomb = png_chunk(b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(b"\niptc\n 99999999\n" + b"0" * 20_000_000))
    yield "PNG", with_chunks(plain("PNG"), bomb * 50)
    bomb = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp(LABEL) + b" " * 20_000_000))
    yield "PNG", with_chunks(plain("PNG"), bomb * 50)
    yield "WEBP", b"RIFF\xff\xff\xff\xffWEBP" + riff_chunk(b"abcd", b"") * 300_000
    fields = struct.pack("<H", 4096) + struct.pack("<HHII", 254, 4, 1, 1) * 4096
    pages = (fields + struct.pack("<I", 8 + (len(fields) + 4) * (number + 1)) for number in range(300))
    yield "TIFF", b"II*\0\x08\0\0\0" + b"".join(pages)
    yield "HEIF", box(b"meta", b"\0\0\0\0", box(b"iinf", b"\0\0\0\0\0\1") * 200_000)
    association = box(b"ipma", b"\0\0\0\0\0\x0f\0\0" + b"\0\1\xff" * 300_000)
    yield "HEIF", box(b"meta", b"\0\0\0\0", box(b"iprp", association))
    yield "GIF", b"GIF89a" + b"\x21\xff\x0bXMP DataXMP" * 100_000


def test_no_file_makes_the_search_expensive() -> None:
    for kind, body in hostile():
        began = time.process_time()
        find_carried(io.BytesIO(body), kind, Image.new("L", (1, 1)), 0)
        assert time.process_time() - began < 2, kind


def test_a_job_of_two_renditions_lists_each(run: Run) -> None:
    body = with_xmp(xmp(LABEL), "JPEG")
    report = run(body, job(rendition("one", "gif"), rendition("two", "webp")))
    assert [made["dropped"] for made in report["renditions"]] == [["ai_label"], []]


def test_the_documentation_lists_all_names_and_properties() -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    section = page.partition("## What a rendition does not carry over\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", section, re.MULTILINE))
    assert rows == MEANINGS
    rights = page.partition("`xmp_rights` keeps these properties")[2].partition("Only these")[0]
    named = {f"{prefix}:{name}" for prefix, rest in re.findall(r"^\| `(\w+)` \| (.+) \|$", rights, re.MULTILINE)
             for name in re.findall(r"`(\w+)`", rest)}  # fmt: skip
    assert named == set(vocabulary.RIGHTS)
