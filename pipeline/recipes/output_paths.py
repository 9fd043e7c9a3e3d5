"""Output paths: patterns with fields that are filled in for a source. The result is always a safe blob name.

A blob name has at most 1,024 characters, and should have no empty segment and no segment that ends with a dot
(learn.microsoft.com, "Naming and referencing containers, blobs, and metadata"). Source names may have all of these.
Such parts are percent-encoded, so that two sources never have the same output path.
"""

import hashlib
import re

from pipeline.recipes.regular_languages import ANYTHING, SEGMENT, Chars, Node, Star, either, sequence, text

MAX_CHARACTERS = 1024
"""Characters of a blob name, counted in UTF-16 as the service does."""
MAX_PATTERN_CHARACTERS = 500
FIELDS = {
    "path": "full name of the source, with folders and extension",
    "dir": "folders of the source (empty, and without a slash, if it has none)",
    "stem": "file name of the source without its extension",
    "source_ext": "extension of the source in lower case, without the dot",
    "recipe": "name of the recipe",
    "rendition": "name of the rendition",
    "ext": "extension of the rendition's format",
    "width": "width of the rendition in pixels",
    "height": "height of the rendition in pixels",
    "hash": "first 16 digits of the rendition's SHA-256",
}
DEFAULT = "{recipe}/{path}/{rendition}.{ext}"
AFTER = ("width", "height", "hash")
"""Fields that are known only after rendering."""

_FIELD = re.compile(r"\{([^{}]*)\}")


class PathError(ValueError):
    """A path pattern is invalid."""


def check(pattern: str) -> str:
    """Return `pattern`. Raises PathError if it has unknown fields, or could give an unsafe name."""
    unknown = [name for name in fields(pattern) if name not in FIELDS]
    if unknown:
        raise PathError(f"unknown field {{{unknown[0]}}}; the fields are: {', '.join(FIELDS)}")
    plain = _FIELD.sub("x", pattern)
    rules = {
        "unbalanced { or }: write fields as in {stem}": "{" in plain or "}" in plain,
        "a path must not start or end with a slash, and must not contain // or a backslash": (
            plain.startswith("/") or plain.endswith("/") or "//" in plain or "\\" in plain
        ),
        "no part of a path may end with a dot": any(segment.endswith(".") for segment in plain.split("/")),
        f"a path pattern has at most {MAX_PATTERN_CHARACTERS} characters, all of them printable": (
            len(pattern) > MAX_PATTERN_CHARACTERS or not plain.isprintable()
        ),
        "without {path} or {stem}, all sources have the same output path": (
            not {"path", "stem"} & set(fields(pattern))
        ),
    }
    for rule, broken in rules.items():
        if broken:
            raise PathError(rule)
    return pattern


def fields(pattern: str) -> list[str]:
    """Return the names of the fields in the pattern, in order."""
    return _FIELD.findall(pattern)


def fill(pattern: str, source_name: str, **known: str) -> str:
    """Fill in the pattern for a source. Returns a safe blob name of at most 1,024 characters.

    `known` has the fields that do not depend on the source's name. If the result is too long, the source's name in it
    is cut, and a digest of the whole name keeps it unique.
    """
    values = {**_source_fields(source_name), **known}
    name = _join(pattern, values)
    if _length(name) <= MAX_CHARACTERS:
        return name
    field = "path" if "path" in fields(pattern) else "dir" if values["dir"] else "stem"
    digest = hashlib.sha256(source_name.encode()).hexdigest()[:16]
    room = len(values[field]) - (_length(name) - MAX_CHARACTERS) - len(digest) - 1
    while True:
        values[field] = values[field][: max(room, 0)].rstrip("/. ") + "~" + digest
        name = _join(pattern, values)
        if _length(name) <= MAX_CHARACTERS or room <= 0:
            return name[:MAX_CHARACTERS]
        room -= _length(name) - MAX_CHARACTERS


def _source_fields(name: str) -> dict[str, str]:
    """Return the fields of a source's name, each safe in a path."""
    segments = [_safe(segment) for segment in name.split("/")]
    stem, dot, extension = segments[-1].rpartition(".")
    if not dot or not stem:
        stem, extension = segments[-1], ""
    folders = "/".join(segments[:-1])
    return {"path": "/".join(segments), "dir": folders, "stem": stem, "source_ext": extension.lower()}


def _join(pattern: str, values: dict[str, str]) -> str:
    name = _FIELD.sub(lambda match: values[match[1]], pattern)
    name = re.sub("/{2,}", "/", name).strip("/")
    # A stem may end with a dot even if the whole name does not.
    return re.sub(r"\.(?=/|$)", "%2E", name)


def _length(name: str) -> int:
    return len(name.encode("utf-16-le")) // 2


def _safe(segment: str) -> str:
    """Percent-encode a segment if it is empty, ends with a dot or has control characters, backslashes or %XX."""
    if not segment:
        return "%00"
    if re.search(r"[\x00-\x1f\x7f\\]|\.$|%[0-9A-F]{2}", segment) is None:
        return segment
    segment = re.sub(r"[%\x00-\x1f\x7f\\]", lambda match: f"%{ord(match[0]):02X}", segment)
    return re.sub(r"\.+$", lambda match: "%2E" * len(match[0]), segment)


def language(pattern: str, sources: Node, **known: str) -> Node:
    """Return a superset of the names that the pattern gives for a set of sources."""
    digits: Node = Star(Chars(frozenset("0123456789")))
    sets = {"path": sources, "dir": ANYTHING, "stem": SEGMENT, "source_ext": Star(Chars(frozenset("/"), negated=True))}
    sets |= {"width": digits, "height": digits, "hash": Star(Chars(frozenset("0123456789abcdef")))}
    sets |= {name: text(value) for name, value in known.items()}
    pieces = enumerate(_FIELD.split(pattern))
    node = sequence([sets[piece] if index % 2 else text(piece) for index, piece in pieces])
    if "{dir}/" not in pattern:
        return node
    # Without folders, the slash is left out, too.
    return either([node, language(pattern.replace("{dir}/", "", 1), sources, **known)])
