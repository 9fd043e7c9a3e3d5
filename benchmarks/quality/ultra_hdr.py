"""Ultra HDR files for benchmarks and tests: a writer and a reader that share no code with the engine.

The writer can write each part of the format wrongly or not at all. The reader reconstructs the HDR image.
"""

from __future__ import annotations

import io
import math
import re
import struct
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageMath, MpoImagePlugin

Bands = list[Image.Image]
"""Channels in floats and linear light, where 1 is SDR white."""


def calc(work: Callable[..., Any], **images: Image.Image) -> Image.Image:
    """Compute a float image from others, which `work` gets by their names."""
    made: Image.Image = ImageMath.lambda_eval(work, **images)
    return made


NAMES = ("GainMapMin", "GainMapMax", "Gamma", "OffsetSDR", "OffsetHDR")
MAX_MEASURED_PIXELS = 200_000
"""Of a larger image, pixels in equal steps are measured."""

LUMINANCE = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True)
class Gains:
    """Metadata of a gain map: one value per channel, or one for all."""

    low: tuple[float, ...] = (0.0,)
    high: tuple[float, ...] = (3.0,)
    gamma: tuple[float, ...] = (1.0,)
    offset_sdr: tuple[float, ...] = (1 / 64,)
    offset_hdr: tuple[float, ...] = (1 / 64,)
    headroom: tuple[float, float] = (0.0, 3.0)

    def columns(self) -> tuple[tuple[float, ...], ...]:
        """Return the values in the order of `NAMES`."""
        return self.low, self.high, self.gamma, self.offset_sdr, self.offset_hdr


@dataclass(frozen=True)
class Layout:
    """The parts of a file to write, and how wrongly.

    Shifts are added to the true number. `order` is the byte order of the multi-picture index. `directory` is the
    container directory. `changes` replaces texts in the XMP packet of the gain map.
    """

    xmp: bool = True
    iso: bool = True
    mpf: bool = True
    directory: bool = True
    order: str = ">"
    offset_shift: int = 0
    size_shift: int = 0
    length_shift: int = 0
    base_colors: bool = True
    common_denominator: bool = False
    orientation: int = 1
    base_profile: bytes = b""
    map_profile: bytes = b""
    base_quality: int = 95
    map_quality: int = 95
    map_cut: int = 0
    trailer: bytes = b""
    changes: dict[str, str] = field(default_factory=dict)
    iso_body: bytes | None = None


def write(base: Image.Image, gain: Image.Image, gains: Gains, layout: Layout | None = None) -> bytes:
    """Write a file: an image, and its gain map behind it."""
    layout = layout or Layout()
    second = _with_segments(_jpeg(gain, layout.map_quality, layout.map_profile), _map_segments(gains, layout))
    second = second[: len(second) - layout.map_cut]
    exif = Image.Exif()
    if layout.orientation != 1:
        exif[0x0112] = layout.orientation
    first = _jpeg(base, layout.base_quality, layout.base_profile, exif.tobytes() if len(exif) else b"")
    head = b""
    if layout.directory:
        head += _app(1, b"http://ns.adobe.com/xap/1.0/\0" + _directory(len(second) + layout.length_shift).encode())
    if layout.iso:
        head += _app(2, b"urn:iso:std:iso:ts:21496:-1\0" + bytes(4))
    if layout.mpf:
        blank = _app(2, _index(layout.order, 0, 0, 0))
        place = _head_end(first) + len(head) + 8
        size = len(first) + len(head) + len(blank)
        offset = size - place + layout.offset_shift
        head += _app(2, _index(layout.order, size, len(second) + layout.size_shift, offset))
    return _with_segments(first, head) + second + layout.trailer


def _jpeg(image: Image.Image, quality: int, profile: bytes, exif: bytes = b"") -> bytes:
    """Encode a JPEG without chroma subsampling."""
    buffer = io.BytesIO()
    options: dict[str, Any] = {"exif": exif} if exif else {}
    image.save(buffer, "JPEG", quality=quality, subsampling=0, icc_profile=profile or None, **options)
    return buffer.getvalue()


def _app(number: int, data: bytes) -> bytes:
    """Build an application segment."""
    return bytes((0xFF, 0xE0 + number)) + struct.pack(">H", len(data) + 2) + data


def _head_end(body: bytes) -> int:
    """Return the offset behind JFIF and EXIF."""
    end = 4 + int.from_bytes(body[4:6], "big")
    if body[end + 1] == 0xE1:
        end += 2 + int.from_bytes(body[end + 2 : end + 4], "big")
    return end


def _with_segments(body: bytes, segments: bytes) -> bytes:
    """Insert segments behind JFIF and EXIF."""
    end = _head_end(body)
    return body[:end] + segments + body[end:]


def _index(order: str, size: int, map_size: int, map_offset: int) -> bytes:
    """Build the multi-picture index of CIPA DC-007."""
    mark = b"MM\0*" if order == ">" else b"II*\0"
    fields = struct.pack(order + "HHI4s", 0xB000, 7, 4, b"0100") + struct.pack(order + "HHII", 0xB001, 4, 1, 2)
    fields += struct.pack(order + "HHII", 0xB002, 7, 32, 50)
    entries = struct.pack(order + "IIIHH", 0x030000, size, 0, 0, 0)
    entries += struct.pack(order + "IiiHH", 0, map_size, map_offset, 0, 0)
    return b"MPF\0" + mark + struct.pack(order + "IH", 8, 3) + fields + bytes(4) + entries


def _directory(length: int) -> str:
    """Write the container directory of the image, as Android writes it."""
    return f"""<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 5.1.2">
  <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
    <rdf:Description
     xmlns:Container="http://ns.google.com/photos/1.0/container/"
     xmlns:Item="http://ns.google.com/photos/1.0/container/item/"
     xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"
     hdrgm:Version="1.0">
      <Container:Directory>
        <rdf:Seq>
          <rdf:li rdf:parseType="Resource">
            <Container:Item Item:Semantic="Primary" Item:Mime="image/jpeg"/>
          </rdf:li>
          <rdf:li rdf:parseType="Resource">
            <Container:Item Item:Semantic="GainMap" Item:Mime="image/jpeg" Item:Length="{length}"/>
          </rdf:li>
        </rdf:Seq>
      </Container:Directory>
    </rdf:Description>
  </rdf:RDF>
</x:xmpmeta>
"""


def _map_segments(gains: Gains, layout: Layout) -> bytes:
    """Write the metadata of the gain map in the wanted forms."""
    segments = b""
    if layout.xmp:
        packet = _hdrgm(gains)
        for old, new in layout.changes.items():
            packet = packet.replace(old, new)
        segments += _app(1, b"http://ns.adobe.com/xap/1.0/\0" + packet.encode())
    if layout.iso:
        body = _iso(gains, layout) if layout.iso_body is None else layout.iso_body
        segments += _app(2, b"urn:iso:std:iso:ts:21496:-1\0" + body)
    return segments


def _hdrgm(gains: Gains) -> str:
    """Write Adobe's properties, with sequences for several channels."""
    attributes, elements = "", ""
    for name, values in zip(NAMES, gains.columns(), strict=True):
        if len(values) == 1:
            attributes += f'\n     hdrgm:{name}="{values[0]}"'
        else:
            items = "".join(f"<rdf:li>{value}</rdf:li>" for value in values)
            elements += f"<hdrgm:{name}><rdf:Seq>{items}</rdf:Seq></hdrgm:{name}>"
    low, high = gains.headroom
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 5.1.2">
  <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
    <rdf:Description rdf:about=""
     xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"
     hdrgm:Version="1.0"{attributes}
     hdrgm:HDRCapacityMin="{low}"
     hdrgm:HDRCapacityMax="{high}"
     hdrgm:BaseRenditionIsHDR="False">{elements}</rdf:Description>
  </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


def _iso(gains: Gains, layout: Layout) -> bytes:
    """Write the binary form of ISO 21496-1, with denominators of 1,000,000."""
    count = max(len(values) for values in gains.columns())
    flags = (0x80 if count == 3 else 0) | (0x40 if layout.base_colors else 0)
    unit = 1_000_000
    numbers = [*gains.headroom]
    for at in range(count):
        numbers += [values[at % len(values)] for values in gains.columns()]
    if layout.common_denominator:
        body = struct.pack(">I", unit) + b"".join(struct.pack(">i", round(number * unit)) for number in numbers)
        return struct.pack(">HHB", 0, 0, flags | 8) + body
    return struct.pack(">HHB", 0, 0, flags) + b"".join(struct.pack(">iI", round(n * unit), unit) for n in numbers)


def read(body: bytes) -> tuple[Image.Image, Image.Image, Gains]:
    """Read image, gain map and metadata: by Pillow's reader of multi-picture files."""
    opened = MpoImagePlugin.MpoImageFile(io.BytesIO(body))
    assert opened.n_frames == 2, "the file has no gain map"  # noqa: S101
    entry: dict[str, int] = opened.mpinfo[0xB002][1]  # type: ignore[index,unused-ignore]
    opened.load()
    base = opened.copy()
    # Older versions of Pillow decode the second image with the size of the first.
    start = body.index(b"MPF\0") + 4 + entry["DataOffset"]
    second = Image.open(io.BytesIO(body[start : start + entry["Size"]]), formats=["JPEG"])
    second.load()
    return base, second.copy(), _gains_of(second, body[start : start + entry["Size"]])


def _gains_of(image: Image.Image, body: bytes) -> Gains:
    """Read metadata from Adobe's properties, or from the binary form if there are none."""
    if "xmp" in image.info:
        packet = image.info["xmp"].decode()
        columns = [_values(packet, name) for name in (*NAMES, "HDRCapacityMin", "HDRCapacityMax")]
        return _gains_from(columns, (columns[5][0], columns[6][0]))
    mark = b"urn:iso:std:iso:ts:21496:-1\0"
    start = body.index(mark) + len(mark) + 4
    count = 3 if body[start] & 0x80 else 1
    if body[start] & 8:
        unit, *above = struct.unpack_from(f">I{2 + 5 * count}i", body, start + 1)
        numbers = [number / unit for number in above]
    else:
        pairs = struct.unpack_from(">" + "iI" * (2 + 5 * count), body, start + 1)
        numbers = [above / below for above, below in zip(pairs[::2], pairs[1::2], strict=True)]
    return _gains_from([tuple(numbers[2 + at :: 5]) for at in range(5)], (numbers[0], numbers[1]))


def _gains_from(columns: Sequence[tuple[float, ...]], headroom: tuple[float, float]) -> Gains:
    """Build metadata from its values in the order of `NAMES`."""
    low, high, gamma, sdr, hdr = columns[:5]
    return Gains(low, high, gamma, sdr, hdr, headroom)


def _values(packet: str, name: str) -> tuple[float, ...]:
    """Return the values of a property of `hdrgm`."""
    single = re.search(rf'hdrgm:{name}="([^"]*)"', packet)
    if single:
        return (float(single[1]),)
    listed = re.search(rf"<hdrgm:{name}>(.*?)</hdrgm:{name}>", packet, re.DOTALL)
    assert listed, name  # noqa: S101
    return tuple(float(text) for text in re.findall(r"<rdf:li>([^<]*)", listed[1]))


def linear(image: Image.Image) -> Bands:
    """Convert sRGB to linear light."""
    levels = [value / 255 for value in range(256)]
    table = [level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels]
    bands = [band.point(table, "F") for band in image.split()]
    return bands if len(bands) == 3 else bands * 3


def encode_srgb(bands: Bands) -> Image.Image:
    """Convert linear light to sRGB with 8 bits, clipped."""
    made = []
    table = []
    for step in range(65_536):
        level = (step / 65_535) ** 2  # steps of the square root are fine enough in the shadows
        coded = level * 12.92 if level <= 0.0031308 else 1.055 * level ** (1 / 2.4) - 0.055
        table.append(min(255, round(coded * 255)))
    for band in bands:
        root = calc(lambda a: a["max"](a["min"](a["v"], 1.0), 0.0) ** 0.5 * 65_535 + 0.5, v=band)
        made.append(root.convert("I").point(table, "L"))
    return Image.merge("RGB", made)


def reconstruct(base: Image.Image, gain: Image.Image, gains: Gains) -> Bands:
    """Compute the HDR image at full headroom (ISO 21496-1, 6.2). The gain map is enlarged bilinearly."""
    maps = [band.convert("F").resize(base.size, Image.Resampling.BILINEAR) for band in gain.split()]
    maps = maps if len(maps) == 3 else maps * 3
    found = []
    for at, (band, values) in enumerate(zip(linear(base), maps, strict=True)):
        low, high, gamma, sdr, hdr = (column[at % len(column)] for column in gains.columns())
        span, root = high - low, 1 / gamma
        found.append(
            calc(
                lambda a, low=low, span=span, root=root, sdr=sdr, hdr=hdr: (
                    (a["base"] + sdr) * 2.0 ** ((a["gain"] / 255.0) ** root * span + low) - hdr
                ),
                base=band,
                gain=values,
            )
        )
    return found


def resized(bands: Bands, size: tuple[int, int], box: Sequence[float] | None = None) -> Bands:
    """Crop and resize in linear light."""
    part = tuple(box) if box else None
    return [band.resize(size, Image.Resampling.LANCZOS, part) for band in bands]  # type: ignore[arg-type]


def luminance(bands: Bands) -> Image.Image:
    """Compute the luminance."""
    red, green, blue = bands
    return calc(lambda a: a["r"] * LUMINANCE[0] + a["g"] * LUMINANCE[1] + a["b"] * LUMINANCE[2], r=red, g=green, b=blue)


def stops_apart(wanted: Bands, got: Bands, sdr: Bands, share: float = 0.95) -> float:
    """Return the error of log luminance in stops that `share` of the pixels keep, where SDR luminance is >= 0.05."""
    count = wanted[0].width * wanted[0].height
    step = 1 + 2 * (count // (2 * MAX_MEASURED_PIXELS))
    one, other, lit = (array("f", luminance(bands).tobytes())[::step] for bands in (wanted, got, sdr))
    errors = sorted(
        abs(math.log2(max(a, 1e-6) / max(b, 1e-6))) for a, b, c in zip(one, other, lit, strict=True) if c >= 0.05
    )
    return errors[min(len(errors) - 1, math.ceil(share * len(errors)) - 1)]


def tone_mapped(hdr: Bands) -> Image.Image:
    """Compute an SDR image from an HDR image, by a curve that compresses highlights."""
    curve = [calc(lambda a: a["v"] * 1.25 / (a["v"] + 0.55), v=band) for band in hdr]
    return encode_srgb(curve)


def gain_map_of(hdr: Bands, sdr: Image.Image, reduction: int, *, color: bool = False) -> tuple[Image.Image, Gains]:
    """Compute a gain map as a camera does: the ratio at each pixel, averaged in stops, at a fraction of the size."""
    base = linear(sdr)
    pairs = list(zip(hdr, base, strict=True)) if color else [(luminance(hdr), luminance(base))]
    stops = [_log2(calc(lambda a: (a["h"] + 1 / 64) / (a["s"] + 1 / 64), h=h, s=s)) for h, s in pairs]
    size = (max(1, sdr.width // reduction), max(1, sdr.height // reduction))
    small = [band.resize(size, Image.Resampling.BOX) for band in stops]
    low = tuple(float(band.getextrema()[0]) for band in small)  # type: ignore[arg-type]
    high = tuple(float(band.getextrema()[1]) for band in small)  # type: ignore[arg-type]
    coded = [
        calc(lambda a, x=x, y=y: (a["v"] - x) * (255 / max(y - x, 1e-6)) + 0.5, v=band).convert("L")
        for band, x, y in zip(small, low, high, strict=True)
    ]
    image = coded[0] if len(coded) == 1 else Image.merge("RGB", coded)
    return image, Gains(low, high, headroom=(0.0, max(0.5, *high)))


def _log2(image: Image.Image) -> Image.Image:
    """Compute logarithms to base 2 of a float image."""
    values = array("f", (math.log2(max(value, 1e-6)) for value in array("f", image.tobytes())))
    return Image.frombytes("F", image.size, values.tobytes())
