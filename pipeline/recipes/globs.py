"""Globs over blob names.

`*` matches any characters except a slash, `**` any characters, `**/` zero or more folders, `?` one character except a
slash, `[a-z]` and `[!a-z]` one character of a set, `{jpg,png}` one of the alternatives. Case is ignored, because
cameras write `.JPG`.
"""

import re
from functools import lru_cache

from pipeline.recipes.regular_languages import (
    ANYTHING,
    EMPTY,
    IN_SEGMENT,
    Chars,
    Node,
    Seq,
    Star,
    either,
    sequence,
    text,
    to_regex,
)

MAX_CHARACTERS = 200
"""Characters of a glob: each is a node of a tree that is traversed recursively."""
MAX_DEPTH = 10
"""Nested braces."""
MAX_SET_CHARACTERS = 256
"""Characters of a set, ranges included."""
# A recipe file has a few globs per recipe, and a process loads one file.
_CACHE_SIZE = 256


class GlobError(ValueError):
    """A glob is malformed."""


def check(glob: str) -> str:
    """Return `glob`. Raises GlobError if it is malformed or cannot match any blob."""
    language(glob)
    return glob


@lru_cache(maxsize=_CACHE_SIZE)
def compiled(glob: str) -> re.Pattern[str]:
    """Return the glob as a regular expression, for `fullmatch` on the name in lower case."""
    return re.compile(to_regex(language(glob)), re.DOTALL)


@lru_cache(maxsize=_CACHE_SIZE)
def language(glob: str) -> Node:
    """Return the set of names that the glob matches. Raises GlobError if it is malformed or cannot match any blob."""
    if not glob or glob.startswith("/"):
        raise GlobError(f"the glob {glob!r} matches nothing: blob names start without a slash")
    lower = glob.lower()
    if len(lower) > MAX_CHARACTERS:
        raise GlobError(f"a glob has at most {MAX_CHARACTERS} characters, not {len(lower):,}")
    node, offset = _alternatives(lower, 0, depth=0)
    if offset < len(lower):
        raise GlobError(f"unbalanced }} in the glob {glob!r}")
    return node


def _alternatives(glob: str, offset: int, depth: int) -> tuple[Node, int]:
    """Parse alternatives from `offset` to the end of the glob or of its braces. Returns them and the end."""
    if depth > MAX_DEPTH:
        raise GlobError(f"braces are nested more than {MAX_DEPTH} levels deep in the glob {glob!r}")
    alternatives: list[Node] = []
    parts: list[Node] = []
    while offset < len(glob) and glob[offset] != "}":
        if depth and glob[offset] == ",":
            alternatives.append(sequence(parts))
            parts, offset = [], offset + 1
        else:
            node, offset = _part(glob, offset, depth)
            parts.append(node)
    return either([*alternatives, sequence(parts)]), offset


def _part(glob: str, offset: int, depth: int) -> tuple[Node, int]:
    """Parse the part of the glob at `offset`. Returns it and the offset of the next part."""
    if glob.startswith("**/", offset) and (offset == 0 or glob[offset - 1] == "/"):
        return either([EMPTY, Seq(ANYTHING, text("/"))]), offset + 3
    if glob.startswith("**", offset):
        return ANYTHING, offset + 2
    match glob[offset]:
        case "*":
            return Star(IN_SEGMENT), offset + 1
        case "?":
            return IN_SEGMENT, offset + 1
        case "[":
            return _set(glob, offset)
        case "{":
            node, end = _alternatives(glob, offset + 1, depth + 1)
            if end >= len(glob):
                raise GlobError(f"unbalanced {{ in the glob {glob!r}")
            return node, end + 1
        case char:
            return text(char), offset + 1


def _set(glob: str, offset: int) -> tuple[Node, int]:
    """Parse a set such as `[a-z0-9_]` or `[!a]`. It never contains a slash."""
    end = glob.find("]", offset + 2)
    if end < 0:
        raise GlobError(f"unbalanced [ in the glob {glob!r}")
    inner = glob[offset + 1 : end]
    negated = inner.startswith("!")
    chars: set[str] = set()
    for low, high, single in re.findall(r"(.)-(.)|(.)", inner.removeprefix("!"), re.DOTALL):
        codes = range(ord(single or low), ord(single or high) + 1)
        if len(chars) + len(codes) > MAX_SET_CHARACTERS:
            raise GlobError(f"the set [{inner}] has more than {MAX_SET_CHARACTERS} characters: use ? instead")
        chars.update(map(chr, codes))
    return Chars(frozenset(chars | {"/"} if negated else chars - {"/"}), negated), end + 1
