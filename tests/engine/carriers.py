"""Sources that carry information besides their pixels, made by the tests themselves."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image, PngImagePlugin

from .conftest import encoded, gradient

AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
LABEL = f'Iptc4xmpExt:DigitalSourceType="{AI}"'

PREFIXES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpRights": "http://ns.adobe.com/xap/1.0/rights/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "plus": "http://ns.useplus.org/ldf/xmp/1.0/",
    "cc": "http://creativecommons.org/ns#",
    "GPano": "http://ns.google.com/photos/1.0/panorama/",
    "GCamera": "http://ns.google.com/photos/1.0/camera/",
    "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
}


def xmp(attributes: str = "", elements: str = "", more: str = "") -> bytes:
    """Build a packet as Adobe writes it: properties as attributes and as elements of one rdf:Description."""
    used = [prefix for prefix in PREFIXES if f"{prefix}:" in attributes + elements + more]
    namespaces = " ".join(f'xmlns:{prefix}="{PREFIXES[prefix]}"' for prefix in used)
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    return (
        f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="t">\n'
        f'<rdf:RDF xmlns:rdf="{rdf}">\n<rdf:Description rdf:about="" {namespaces} '
        f"{attributes}>{elements}</rdf:Description>{more}\n</rdf:RDF>\n</x:xmpmeta>\n"
        + " " * 2000
        + '<?xpacket end="w"?>'
    ).encode()


def jpeg_segment(marker: int, data: bytes) -> bytes:
    """Build a segment."""
    return struct.pack(">BBH", 0xFF, marker, 2 + len(data)) + data


def with_segments(body: bytes, *segments: bytes) -> bytes:
    """Insert segments behind the start of a JPEG."""
    return body[:2] + b"".join(segments) + body[2:]


def png_chunk(name: bytes, data: bytes) -> bytes:
    """Build a chunk."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunks(body: bytes, *chunks: bytes, late: bool = False) -> bytes:
    """Insert chunks behind the header of a PNG, or before its end."""
    at = len(body) - 12 if late else 33
    return body[:at] + b"".join(chunks) + body[at:]


def riff_chunk(name: bytes, data: bytes) -> bytes:
    """Build a chunk of a WebP."""
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def box(name: bytes, *parts: bytes) -> bytes:
    """Build a box of a HEIF or AVIF file."""
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + name + body


def with_xmp(packet: bytes, kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    """Encode an image (a gradient if not given) with an XMP packet in it."""
    image = image or gradient(40, 30)
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode("utf-8", "surrogateescape"))
        return encoded(image, kind, pnginfo=info, **options)
    if kind == "GIF":
        body = encoded(image.quantize(64), kind, **options)
        tail = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
        return body[:-1] + b"\x21\xff\x0bXMP DataXMP" + packet + tail + b"\x3b"
    if kind == "TIFF":
        return encoded(image, kind, tiffinfo={700: packet}, **options)
    if kind == "HEIF":
        import pillow_heif

        buffer = io.BytesIO()
        pillow_heif.from_pillow(image).save(buffer, xmp=packet, **options)
        return buffer.getvalue()
    return encoded(image, kind, xmp=packet, **options)


def xmp_of(body: bytes) -> bytes:
    """Return the XMP packet of a rendition, read by the decoder."""
    with Image.open(io.BytesIO(body)) as image:
        image.load()
        packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    return packet.encode() if isinstance(packet, str) else packet


def iim(*fields: tuple[int, bytes], utf8: bool = True) -> bytes:
    """Build an IPTC-IIM block of datasets of record 2."""
    head = b"\x1c\x01\x5a" + struct.pack(">H", 3) + b"\x1b%G" if utf8 else b""
    return head + b"".join(b"\x1c\x02" + struct.pack(">BH", number, len(text)) + text for number, text in fields)


def resources(block: bytes) -> bytes:
    """Build Photoshop's image resources with an IPTC-IIM block behind another resource."""
    other = b"8BIM" + struct.pack(">H", 0x0425) + b"\3abc" + struct.pack(">I", 3) + b"123\0"
    return other + b"8BIM" + struct.pack(">H", 0x0404) + b"\0\0" + struct.pack(">I", len(block)) + block
