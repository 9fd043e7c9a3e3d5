"""Output paths: the pattern of a rendition, filled in for a source, always a safe blob name.

A blob name has at most 1,024 characters and should have no empty segment and no segment that ends with a dot
(learn.microsoft.com, "Naming and referencing containers, blobs, and metadata"). Source names may have all that; the
odd parts are then percent-encoded, so that two sources never share an output.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from .regular_languages import ANYTHING, SEGMENT, Chars, Node, Star, either, sequence, text

LONGEST = 1024
"""Characters of a blob name, counted in UTF-16 as the service does."""

FIELDS = {
    "path": "the source's full name, with folders and extension",
    "dir": "the source's folders (nothing, and no slash, when it has none)",
    "stem": "the source's file name without its extension",
    "source_ext": "the source's extension, in lower case, without the dot",
    "recipe": "the recipe's name",
    "rendition": "the rendition's name",
    "ext": "the extension of the format that was written",
    "width": "the rendition's width in pixels",
    "height": "the rendition's height in pixels",
    "hash": "the first 16 digits of the rendition's SHA-256",
}
DEFAULT = "{recipe}/{path}/{rendition}.{ext}"
AFTER = ("width", "height", "hash")
"""Fields that are known only when the rendition is made."""

_FIELD = re.compile(r"\{([^{}]*)\}")


class PathError(ValueError):
    """A pattern that cannot be used."""


@dataclass(frozen=True)
class Source:
    """The parts of a source's name, each fit to stand in a path."""

    path: str
    dir: str
    stem: str
    source_ext: str

    @classmethod
    def of(cls, name: str) -> Source:
        """The parts of `name`."""
        segments = [_safe(segment) for segment in name.split("/")]
        stem, dot, extension = segments[-1].rpartition(".")
        if not dot or not stem:
            stem, extension = segments[-1], ""
        return cls("/".join(segments), "/".join(segments[:-1]), stem, extension.lower())


def check(pattern: str) -> str:
    """`pattern` again. Raise PathError when it has unknown fields, or could make a name that is not safe."""
    unknown = [name for name in fields(pattern) if name not in FIELDS]
    if unknown:
        raise PathError(f"{{{unknown[0]}}} is not known here; there are: {', '.join(FIELDS)}")
    plain = _FIELD.sub("x", pattern)
    if "{" in plain or "}" in plain:
        raise PathError("a { or } stands alone: fields are written like {stem}")
    if plain.startswith("/") or plain.endswith("/") or "//" in plain or "\\" in plain:
        raise PathError("a path has no slash at its ends, no two slashes in a row, and no backslash")
    if any(segment.endswith(".") for segment in plain.split("/")):
        raise PathError("no part of a path may end with a dot")
    if len(pattern) > 500 or not plain.isprintable():
        raise PathError("a path pattern has at most 500 characters, all of them printable")
    if not {"path", "stem"} & set(fields(pattern)):
        raise PathError("without {path} or {stem} every source would be written to the same place")
    return pattern


def fields(pattern: str) -> list[str]:
    """The names of the fields in the pattern, in order."""
    return _FIELD.findall(pattern)


def fill(pattern: str, source_name: str, **known: str) -> str:
    """The pattern filled in: a safe blob name of at most 1,024 characters."""
    values = {**vars(Source.of(source_name)), **known}
    name = _join(pattern, values)
    if _units(name) <= LONGEST:
        return name
    # The field that brings the source's name is cut, and its digest keeps two long names apart.
    field = "path" if "path" in fields(pattern) else "dir" if values["dir"] else "stem"
    digest = hashlib.sha256(source_name.encode()).hexdigest()[:16]
    room = len(values[field]) - (_units(name) - LONGEST) - len(digest) - 1
    while True:
        values[field] = _cut(values[field], room) + "~" + digest
        name = _join(pattern, values)
        if _units(name) <= LONGEST or room <= 0:
            return name[:LONGEST]
        room -= _units(name) - LONGEST


def _join(pattern: str, values: dict[str, str]) -> str:
    name = _FIELD.sub(lambda match: values[match[1]], pattern)
    name = re.sub("/{2,}", "/", name).strip("/")
    # A stem may end with a dot where the whole name does not.
    return re.sub(r"\.(?=/|$)", "%2E", name)


def _cut(value: str, room: int) -> str:
    return value[: max(room, 0)].rstrip("/. ")


def _units(name: str) -> int:
    return len(name.encode("utf-16-le")) // 2


def _safe(segment: str) -> str:
    """A segment of a source's name that may stand in any path; odd characters become %XX."""
    if not segment:
        return "%00"
    if re.search(r"[\x00-\x1f\x7f\\]|\.$|%[0-9A-F]{2}", segment) is None:
        return segment
    segment = re.sub(r"[%\x00-\x1f\x7f\\]", lambda match: f"%{ord(match[0]):02X}", segment)
    return re.sub(r"\.+$", lambda match: "%2E" * len(match[0]), segment)


def language(pattern: str, sources: Node, **known: str) -> Node:
    """Every name that the pattern can make from a set of sources: or a few more, never fewer."""
    digits: Node = Star(Chars(frozenset("0123456789")))
    sets = {"path": sources, "dir": ANYTHING, "stem": SEGMENT, "source_ext": Star(Chars(frozenset("/"), negated=True))}
    sets |= {"width": digits, "height": digits, "hash": Star(Chars(frozenset("0123456789abcdef")))}
    sets |= {name: text(value) for name, value in known.items()}
    parts: list[Node] = []
    for index, piece in enumerate(_FIELD.split(pattern)):
        parts.append(sets[piece] if index % 2 else text(piece))
    node = sequence(parts)
    if "{dir}/" not in pattern:
        return node
    # A source without folders takes the slash along.
    return either([node, language(pattern.replace("{dir}/", "", 1), sources, **known)])
