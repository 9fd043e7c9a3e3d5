"""Unsupported variants: valid files that the session's decoder does not read, and files around an image.

Such a file is not damaged. The message names the variant and a variant that works.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from struct import error as struct_error
from typing import TYPE_CHECKING, BinaryIO

from ..containers import tiff
from ..containers import tiff_tags as tags
from ..containers.boxes import find_box
from ..containers.file_view import view_of
from ..errors import EngineError
from . import jpeg_scan

if TYPE_CHECKING:
    from ..containers.heif_items import Items

_STANDARD = "convert it to PNG, JPEG or TIFF"
_DEVELOP = "develop it, and upload the image as JPEG or TIFF"
_UNPACK = "upload the image itself"

_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "compressed with gzip", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard", _UNPACK),
    (b"BZh", "compressed with bzip2", _UNPACK),
    (b"\xfd7zXZ\x00", "compressed with xz", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"\x78\x01", "compressed with zlib", _UNPACK),
    (b"\x78\x9c", "compressed with zlib", _UNPACK),
    (b"\x78\xda", "compressed with zlib", _UNPACK),
    (b"FUJIFILMCCD-RAW", "a camera RAW file (RAF)", _DEVELOP),
    (b"IIRO", "a camera RAW file (ORF)", _DEVELOP),
    (b"IIRS", "a camera RAW file (ORF)", _DEVELOP),
    (b"MMOR", "a camera RAW file (ORF)", _DEVELOP),
    (b"IIU\x00", "a camera RAW file (RW2)", _DEVELOP),
    (b"II\x1a\x00\x00\x00HEAPCCDR", "a camera RAW file (CRW)", _DEVELOP),
    (b"FOVb", "a camera RAW file (X3F)", _DEVELOP),
    (b"\x00MRM", "a camera RAW file (MRW)", _DEVELOP),
)

_RAW_COLORS = frozenset((32803, 34892))
"""Photometric interpretations of DNG and TIFF/EP: color filter array, linear raw."""

_RAW_COMPRESSIONS = frozenset((32767, 34713, 65000, 65535))
"""Compressions of Sony, Nikon, Kodak and Pentax."""

_ITEM_CODECS = {
    b"unci": "uncompressed pixels (unci)",
    b"j2k1": "JPEG 2000",
    b"jpeg": "JPEG",
    b"avc1": "AVC (H.264)",
    b"vvc1": "VVC (H.266)",
    b"evc1": "EVC",
    b"hvc1": "HEVC",
    b"av01": "AV1",
}
_DECODED_CODECS = frozenset((b"hvc1", b"av01"))


_COMPRESSED_ITEMS = re.compile(rb"cmpC|icef")
"""Properties of items that are compressed by a general method (ISO/IEC 23001-17)."""


def refuse_by_first_bytes(head: bytes) -> None:
    """Refuse a file that is packed, or that is a camera RAW file, by its first bytes.

    Raises:
        EngineError: it is one (`unsupported_variant`).
    """
    for start, what, advice in _STARTS:
        if head.startswith(start):
            raise unsupported(what, advice)
    if head[4:12] == b"ftypcrx ":
        raise unsupported("a camera RAW file (CR3)", _DEVELOP)


def refuse_camera_raw(stream: BinaryIO, found: str, index: int) -> None:
    """Refuse a TIFF that is a camera RAW file, or whose first image is a preview of another.

    Pillow would decode the preview.

    Raises:
        EngineError: it is one (`unsupported_variant`).
    """
    if found != "TIFF":
        return
    body = view_of(stream)
    first = tiff.read_directory(body)
    if first is None:
        return
    if name := _camera_raw(body, first):
        raise unsupported(f"a camera RAW file ({name})", _DEVELOP)
    if _is_preview(first) and not index:
        following = tiff.read_directory(body, first.next) if first.next else None
        if following is not None and _pixels(following) > _pixels(first):
            raise unsupported("a TIFF whose first image is a preview", "save the full image as the first one")


def _is_preview(image: tiff.Directory) -> bool:
    """Return True when an image declares itself to be a smaller version of another."""
    return bool(image.first(tags.NEW_SUBFILE_TYPE) & 1) or image.first(tags.SUBFILE_TYPE) == 2


def _camera_raw(body: memoryview, first: tiff.Directory) -> str:
    """Name the kind of camera RAW file; empty when it is none."""
    if bytes(body[8:10]) == b"CR" and not first.big:
        return "CR2"
    if tags.DNG_VERSION in first.fields:
        return "DNG"
    make = first.data(tags.MAKE, 256).split(b"\0")[0][:40].decode("ascii", "replace").strip()
    sensor = first.first(tags.PHOTOMETRIC) in _RAW_COLORS or first.first(tags.COMPRESSION) in _RAW_COMPRESSIONS
    if sensor or (_is_preview(first) and tags.SUB_IFDS in first.fields):
        return "".join(letter for letter in make if letter.isprintable()) or "TIFF/EP"
    return ""


@contextmanager
def name_variant(stream: BinaryIO, found: str, *, opened: bool) -> Iterator[None]:
    """Turn `damaged_image` into `unsupported_variant` where the file is a variant that the decoder does not read.

    `opened` is True when the decoder has accepted the header.
    """
    try:
        yield
    except EngineError as error:
        if error.kind != "damaged_image":
            raise
        try:
            what = _describe(view_of(stream), found, opened=opened)
        except (struct_error, IndexError):
            what = ""
        if what:
            raise unsupported(what, _STANDARD) from error
        raise


def _describe(body: memoryview, found: str, *, opened: bool) -> str:
    """Describe the variant of a file that the decoder rejects; empty when it is an ordinary one."""
    if found == "TIFF" and opened:
        return ""
    readers = {
        "TIFF": _tiff_variant,
        "JPEG": _jpeg_variant,
        "PNG": _png_variant,
        "HEIF": _boxed_variant,
        "AVIF": _boxed_variant,
    }
    return readers[found](body) if found in readers else ""


def _jpeg_variant(body: memoryview) -> str:
    frame = jpeg_scan.read_frame(body)
    if frame is None:
        return ""
    if frame.marker == jpeg_scan.JPEG_LS:
        return "a JPEG-LS file"
    if frame.marker in jpeg_scan.HIERARCHICAL:
        return "a hierarchical JPEG"
    if frame.precision in range(2, 17) and frame.precision != 8:
        return f"a JPEG of {frame.precision} bits per sample"
    if frame.marker in jpeg_scan.LOSSLESS:
        return "a lossless JPEG"
    return "" if len(frame.components) in (1, 3, 4) else f"a JPEG of {len(frame.components)} color components"


def _png_variant(body: memoryview) -> str:
    if bytes(body[12:16]) == b"CgBI":
        return "a PNG for iOS apps (CgBI)"
    if bytes(body[12:16]) == b"IHDR" and body[27] == 64:
        return "a PNG with the filters of MNG"
    return ""


def _tiff_variant(body: memoryview) -> str:
    """Describe a TIFF whose header Pillow rejects. `tiff_layout` names the variants of those that it opens."""
    first = tiff.read_directory(body)
    return "a big-endian BigTIFF" if first and _pixels(first) and first.big and first.order == ">" else ""


def _pixels(image: tiff.Directory) -> int:
    """Return the number of pixels of an image."""
    return image.first(tags.WIDTH) * image.first(tags.HEIGHT)


def _boxed_variant(body: memoryview) -> str:
    """Describe the codec of an HEIF or AVIF file that its decoder does not read."""
    from ..containers.heif_items import read_items

    meta = find_box(body, b"meta")
    items = read_items(body, meta) if meta else None
    if not meta or not items or not items.types:
        return "an HEIF sequence without a still image" if find_box(body, b"moov") else ""
    if _COMPRESSED_ITEMS.search(body, meta.start, meta.end):
        return "an HEIF with pixels compressed by zlib or Brotli"
    # A thumbnail may have another codec than the image. A grid has the codec of its tiles.
    codec = items.types.get(items.primary, b"")
    if codec not in _ITEM_CODECS:
        tiles = [kind for item, kind in items.types.items() if kind in _ITEM_CODECS and _is_tile(items, item)]
        codec = tiles[0] if tiles else b""
    return f"an HEIF with {_ITEM_CODECS[codec]}" if codec in _ITEM_CODECS and codec not in _DECODED_CODECS else ""


def _is_tile(items: Items, item: int) -> bool:
    """Return True when the primary item is derived from `item`."""
    return any(
        kind == b"dimg" and source == items.primary and item in targets for kind, source, targets in items.references
    )


def unsupported(what: str, advice: str) -> EngineError:
    """Build the error for a source in an unsupported variant."""
    return EngineError("unsupported_variant", f"the source is {what}: {advice}")
