"""IPTC-IIM: the older block of rights and credits, which news agencies still write (IPTC-NAA IIM 4.2)."""

from __future__ import annotations

import struct

MAX_FIELDS = 10_000
UTF8 = b"\x1b%G"
"""The character set UTF-8, as dataset 1:90 names it."""

IIM_RESOURCE = 0x0404


def iim_of_resources(body: bytes) -> list[bytes]:
    """Return the IPTC-IIM blocks among Photoshop's image resources."""
    found, at = list[bytes](), 0
    for _ in range(MAX_FIELDS):
        if body[at : at + 4] != b"8BIM" or at + 12 > len(body):
            break
        kind, name = int.from_bytes(body[at + 4 : at + 6], "big"), body[at + 6]
        at += 7 + name + (1 - name % 2)
        length = int.from_bytes(body[at : at + 4], "big")
        if kind == IIM_RESOURCE:
            found.append(body[at + 4 : at + 4 + length])
        at += 4 + length + length % 2
    return found


def iim_texts(body: bytes) -> dict[int, list[str]]:
    """Return the texts of record 2 by the number of their dataset. Reading ends at the first damaged one."""
    fields: list[tuple[int, bytes]] = []
    utf8, at = False, 0
    while body[at : at + 1] == b"\x1c" and len(fields) < MAX_FIELDS and at + 5 <= len(body):
        record, number, length = struct.unpack_from(">BBH", body, at + 1)
        at += 5
        if length & 0x8000:  # the length is too long for 15 bits: no text
            break
        value = body[at : at + length]
        at += length
        if (record, number) == (1, 90):
            utf8 = value == UTF8
        elif record == 2:
            fields.append((number, value))
    texts: dict[int, list[str]] = {}
    for number, value in fields:
        texts.setdefault(number, []).append(_text(value, utf8=utf8))
    return texts


def _text(value: bytes, *, utf8: bool) -> str:
    """Decode a text. Many writers of UTF-8 do not declare it."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("utf-8" if utf8 else "cp1252", "replace")
