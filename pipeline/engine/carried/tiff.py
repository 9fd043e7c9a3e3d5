"""TIFF: find information in the tags of its directories."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from .findings import MAX_BLOCK_BYTES, Findings
from .iim import iim_of_resources

MAX_DIRECTORIES = 200
MAX_FIELDS = 1024

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4, 13: 4, 16: 8}

SUBFILE_TYPE, OLD_SUBFILE_TYPE, BITS, PHOTOMETRIC, SAMPLES, EXTRA_SAMPLES = 254, 255, 258, 262, 277, 338
XMP, IIM, RESOURCES, LAYERS, C2PA = 700, 33723, 34377, 37724, 52545

_NAMES = {LAYERS: "layers", 33550: "georeference", 33922: "georeference", 34264: "georeference"}
_TAGS = frozenset(
    {SUBFILE_TYPE, OLD_SUBFILE_TYPE, BITS, PHOTOMETRIC, SAMPLES, EXTRA_SAMPLES, XMP, IIM, RESOURCES, C2PA}
)
_TAGS |= _NAMES.keys()

_COLOR_CHANNELS = {0: 1, 1: 1, 2: 3, 3: 1, 4: 1, 5: 4, 6: 3, 8: 3, 9: 3, 10: 3}
"""Number of color channels by PhotometricInterpretation."""


@dataclass(frozen=True)
class _Field:
    """One field of a directory: its type, the number of its values, and the offset of the first one."""

    kind: int
    count: int
    offset: int


class _Reader:
    """Reader of a TIFF or BigTIFF file of either byte order."""

    def __init__(self, stream: BinaryIO) -> None:
        """Read the header."""
        self.stream = stream
        stream.seek(0)
        head = stream.read(16)
        self.order = "<" if head[:2] == b"II" else ">"
        self.big = self.unpack("H", head[2:4]) == 43
        self.first = self.unpack("Q", head[8:16]) if self.big else self.unpack("I", head[4:8])

    def unpack(self, kind: str, data: bytes) -> int:
        """Read one number."""
        return int(struct.unpack(self.order + kind, data)[0])

    def directories(self) -> Iterator[dict[int, _Field]]:
        """Yield the fields of each directory by tag."""
        at, seen = self.first, set[int]()
        sizes, kind, entry, word = ("Q", "Q", 20, 8) if self.big else ("H", "I", 12, 4)
        while at and at not in seen and len(seen) < MAX_DIRECTORIES:
            seen.add(at)
            self.stream.seek(at)
            width = struct.calcsize(sizes)
            count = min(self.unpack(sizes, self.stream.read(width)), MAX_FIELDS)
            body = self.stream.read(count * entry + word)
            fields: dict[int, _Field] = {}
            rows = struct.iter_unpack(f"{self.order}HH{kind}{kind}", body[: count * entry])
            for number, (tag, value_type, values, place) in enumerate(rows):
                if tag not in _TAGS:
                    continue
                inline = _TYPE_BYTES.get(value_type, 8) * values <= word
                here = at + width + (number + 1) * entry - word
                fields[tag] = _Field(value_type, values, here if inline else place)
            yield fields
            at = self.unpack(kind, body[count * entry :])

    def read(self, field: _Field | None) -> bytes:
        """Read the bytes of a field, up to `MAX_BLOCK_BYTES`; no bytes when there is none."""
        if field is None:
            return b""
        self.stream.seek(field.offset)
        return self.stream.read(min(field.count * _TYPE_BYTES.get(field.kind, 1), MAX_BLOCK_BYTES))

    def numbers(self, field: _Field | None) -> list[int]:
        """Read the first values of a field of whole numbers."""
        kind = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(field.kind) if field else None
        if field is None or kind is None:
            return []
        body, width = self.read(_Field(field.kind, min(field.count, 64), field.offset)), struct.calcsize(kind)
        return list(struct.unpack(f"{self.order}{len(body) // width}{kind}", body[: len(body) // width * width]))


def find_in_tiff(stream: BinaryIO, findings: Findings) -> None:
    """Find information in a TIFF file: in the tags of the selected page, and its other pages."""
    reader, pages = _Reader(stream), 0
    for number, fields in enumerate(reader.directories()):
        # Bit 0: a reduced copy of another page. Bit 2: a transparency mask.
        (kind,) = reader.numbers(fields.get(SUBFILE_TYPE)) or [0]
        (old,) = reader.numbers(fields.get(OLD_SUBFILE_TYPE)) or [1]
        pages += not kind & 5 and old != 2
        if pages > 1:
            findings.names.add("other_images")
        if number == findings.index:
            _find_in_fields(reader, fields, findings)
        if number >= findings.index and pages > 1:
            return


def _find_in_fields(reader: _Reader, fields: dict[int, _Field], findings: Findings) -> None:
    """Find information in the fields of the image."""
    findings.names.update(name for tag, name in _NAMES.items() if tag in fields)
    bits = reader.numbers(fields.get(BITS)) or [1]
    if max(bits) > 8:
        findings.names.add("color_precision")
    samples = (reader.numbers(fields.get(SAMPLES)) or [1])[0]
    colors = _COLOR_CHANNELS.get((reader.numbers(fields.get(PHOTOMETRIC)) or [-1])[0], samples)
    alpha = any(kind in (1, 2) for kind in reader.numbers(fields.get(EXTRA_SAMPLES)))
    if samples - colors - alpha > 0:
        findings.names.add("extra_channels")
    findings.add_packet(reader.read(fields.get(XMP)))
    if C2PA in fields:
        findings.add_manifests(reader.read(fields[C2PA]))
    findings.add_iim(reader.read(fields.get(IIM)), *iim_of_resources(reader.read(fields.get(RESOURCES))))
