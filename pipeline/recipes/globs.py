"""Globs over blob names.

`*` is anything but a slash, `**` anything at all, `**/` any folders or none, `?` one character but a slash, `[a-z]` and
`[!a-z]` one of a set, `{jpg,png}` either. Upper and lower case are the same, because cameras write `.JPG`.
"""

from __future__ import annotations

import re
from functools import lru_cache

from .regular_languages import ANYTHING, EMPTY, IN_SEGMENT, Chars, Node, Seq, Star, either, sequence, text, to_regex

LONGEST = 200
"""Characters of a glob: each is a node of a tree that is gone down in a recursion."""
DEEPEST = 10
"""Braces within braces."""
WIDEST = 256
"""Characters of a set, its ranges spelled out."""
# Recipe files hold a few globs each, and a process one such file.
_KEPT = 256


class GlobError(ValueError):
    """A glob that cannot be read."""


def check(glob: str) -> str:
    """`glob` again. Raise GlobError when it cannot be read or could match no blob."""
    language(glob)
    return glob


@lru_cache(maxsize=_KEPT)
def compiled(glob: str) -> re.Pattern[str]:
    """The glob as a regular expression; match it with `fullmatch` on the lower-case name."""
    return re.compile(to_regex(language(glob)), re.DOTALL)


@lru_cache(maxsize=_KEPT)
def language(glob: str) -> Node:
    """The set of names that the glob matches. Raise GlobError when it cannot be read or could match no blob."""
    if not glob or glob.startswith("/"):
        raise GlobError(f"the glob {glob!r} matches nothing: blob names start without a slash")
    lower = glob.lower()
    if len(lower) > LONGEST:
        raise GlobError(f"a glob has at most {LONGEST} characters, not {len(lower):,}")
    node, at = _alternatives(lower, 0, braces=0)
    if at < len(lower):
        raise GlobError(f"the glob {glob!r} has a }} without its {{")
    return node


def _alternatives(glob: str, at: int, braces: int) -> tuple[Node, int]:
    """What stands from `at` to the end of the glob, or of its braces: one or more alternatives."""
    if braces > DEEPEST:
        raise GlobError(f"the glob {glob!r} has braces within braces more than {DEEPEST} deep")
    found: list[Node] = []
    parts: list[Node] = []
    while at < len(glob) and not (braces and glob[at] == "}"):
        if braces and glob[at] == ",":
            found.append(sequence(parts))
            parts, at = [], at + 1
        elif glob[at] == "}":
            break
        else:
            node, at = _part(glob, at, braces)
            parts.append(node)
    return either([*found, sequence(parts)]), at


def _part(glob: str, at: int, braces: int) -> tuple[Node, int]:
    """The part of the glob that starts at `at`, and where the next one starts."""
    if glob.startswith("**/", at) and (at == 0 or glob[at - 1] == "/"):
        return either([EMPTY, Seq(ANYTHING, text("/"))]), at + 3
    if glob.startswith("**", at):
        return ANYTHING, at + 2
    match glob[at]:
        case "*":
            return Star(IN_SEGMENT), at + 1
        case "?":
            return IN_SEGMENT, at + 1
        case "[":
            return _set(glob, at)
        case "{":
            node, end = _alternatives(glob, at + 1, braces + 1)
            if end >= len(glob):
                raise GlobError(f"the glob {glob!r} has a {{ without its }}")
            return node, end + 1
        case char:
            return text(char), at + 1


def _set(glob: str, at: int) -> tuple[Node, int]:
    end = glob.find("]", at + 2)
    if end < 0:
        raise GlobError(f"the glob {glob!r} has a [ without its ]")
    inner = glob[at + 1 : end]
    negated = inner.startswith("!")
    chars = _expand(inner.removeprefix("!"))
    return Chars(frozenset(chars | {"/"} if negated else chars - {"/"}), negated), end + 1


def _expand(inner: str) -> set[str]:
    """The characters of a set like `a-z0-9_`."""
    chars: set[str] = set()
    for match in re.finditer(r"(.)-(.)|(.)", inner, re.DOTALL):
        low, high, single = match.groups()
        codes = range(ord(single or low), ord(single or high) + 1)
        if len(chars) + len(codes) > WIDEST:
            raise GlobError(f"the set [{inner}] has more than {WIDEST} characters: use ? for any character")
        chars.update(map(chr, codes))
    return chars
