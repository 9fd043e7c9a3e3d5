"""Regular languages: sets of strings with intersection and complement, decided by derivatives.

The derivative of a set by a character is the set of the rests of its strings that start with the character (Brzozowski,
"Derivatives of Regular Expressions", 1964). A set is empty if no chain of derivatives leads to a set that has the empty
string. The shortest such chain gives an example for error messages. All strings are in lower case.

The number of states is bounded, because requests bring globs and paths, too. Packages that build whole automata
(greenery) have no such bound.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from functools import lru_cache

MAX_STATES = 20_000
"""Real patterns need a few dozen states; this bound stops patterns that were built to explode."""
_CACHE_SIZE = 100_000


@dataclass(frozen=True)
class Chars:
    """One character: one of `chars`, or, if `negated`, any other."""

    chars: frozenset[str]
    negated: bool = False


@dataclass(frozen=True)
class Seq:
    """Concatenation: a string of the first set, then a string of the rest."""

    first: Node
    rest: Node


@dataclass(frozen=True)
class Star:
    """Repetition: zero or more strings of the set."""

    part: Node


@dataclass(frozen=True)
class Either:
    """Union of all parts."""

    parts: frozenset[Node]


@dataclass(frozen=True)
class Both:
    """Intersection of all parts."""

    parts: frozenset[Node]


@dataclass(frozen=True)
class Not:
    """Complement of the set."""

    part: Node


Node = Chars | Seq | Star | Either | Both | Not

NOTHING: Node = Chars(frozenset())
EMPTY: Node = Star(NOTHING)
ANY_CHAR: Node = Chars(frozenset(), negated=True)
ANYTHING: Node = Star(ANY_CHAR)
IN_SEGMENT: Node = Chars(frozenset("/"), negated=True)
SEGMENT: Node = Seq(IN_SEGMENT, Star(IN_SEGMENT))


def text(literal: str) -> Node:
    """Return the set of the one string `literal`."""
    return sequence([Chars(frozenset(char)) for char in literal.lower()])


def sequence(parts: list[Node]) -> Node:
    """Return the concatenation of all parts."""
    node = EMPTY
    for part in reversed(parts):
        node = _then(part, node)
    return node


def either(parts: list[Node]) -> Node:
    """Return the union of all parts."""
    return _combine(Either, parts, NOTHING)


def both(parts: list[Node]) -> Node:
    """Return the intersection of all parts."""
    return NOTHING if NOTHING in parts else _combine(Both, parts, ANYTHING)


def _combine(kind: type[Either | Both], parts: list[Node], neutral: Node) -> Node:
    """Return a union or intersection in normal form: flat, and without the neutral set."""
    flat: set[Node] = set()
    for part in parts:
        flat |= part.parts if isinstance(part, kind) else {part}
    flat.discard(neutral)
    if len(flat) == 1:
        return flat.pop()
    return kind(frozenset(flat)) if flat else neutral


def _then(first: Node, rest: Node) -> Node:
    """Return a concatenation in normal form: nested to the right, and without empty strings."""
    if NOTHING in (first, rest):
        return NOTHING
    if first == EMPTY:
        return rest
    if rest == EMPTY:
        return first
    return Seq(first.first, _then(first.rest, rest)) if isinstance(first, Seq) else Seq(first, rest)


NAMES: Node = _then(SEGMENT, Star(Seq(Chars(frozenset("/")), SEGMENT)))
"""Blob names without empty segments: folders and a file name."""


@lru_cache(maxsize=_CACHE_SIZE)
def has_empty(node: Node) -> bool:
    """Return True if the empty string is in the set."""
    match node:
        case Chars():
            return False
        case Seq(first, rest):
            return has_empty(first) and has_empty(rest)
        case Star():
            return True
        case Either(parts):
            return any(has_empty(part) for part in parts)
        case Both(parts):
            return all(has_empty(part) for part in parts)
        case Not(part):
            return not has_empty(part)


@lru_cache(maxsize=_CACHE_SIZE)
def derive(node: Node, char: str) -> Node:
    """Return the derivative: the rests of all strings in the set that start with `char`."""
    match node:
        case Chars(chars, negated):
            return EMPTY if (char in chars) != negated else NOTHING
        case Seq(first, rest):
            after = _then(derive(first, char), rest)
            return either([after, derive(rest, char)]) if has_empty(first) else after
        case Star(part):
            return _then(derive(part, char), node)
        case Either(parts):
            return either([derive(part, char) for part in parts])
        case Both(parts):
            return both([derive(part, char) for part in parts])
        case Not(part):
            return _complement(derive(part, char))


def _complement(node: Node) -> Node:
    return node.part if isinstance(node, Not) else Not(node)


def difference(node: Node, excluded: Node) -> Node:
    """Return the strings of `node` that are not in `excluded`."""
    return both([node, _complement(excluded)])


def example(node: Node) -> str | None:
    """Return a shortest string of the set, or None if it is empty. Raises ValueError beyond `MAX_STATES` states."""
    alphabet = sorted(_alphabet(node))
    seen = {node}
    queue = deque([(node, "")])
    while queue:
        state, prefix = queue.popleft()
        if has_empty(state):
            return prefix
        for char in alphabet:
            after = derive(state, char)
            if after != NOTHING and after not in seen:
                seen.add(after)
                queue.append((after, prefix + char))
        if len(seen) > MAX_STATES:
            raise ValueError(f"the patterns need more than {MAX_STATES:,} states: simplify them")
    return None


def _alphabet(node: Node) -> set[str]:
    """Return the characters that the set distinguishes, and one that stands for all others."""
    chars: set[str] = set()
    queue = [node]
    while queue:
        match queue.pop():
            case Chars(own):
                chars |= own
            case Seq(first, rest):
                queue += [first, rest]
            case Star(part) | Not(part):
                queue.append(part)
            case Either(parts) | Both(parts):
                queue += parts
    others = (char for char in "xyzabcdefghijklmnopqrstuvw_~\u00e9\u4e00" if char not in chars)
    return chars | {next(others, "\ufffd")}


def to_regex(node: Node) -> str:
    """Return the set as a regular expression for `re`. Raises ValueError for intersections and complements."""
    match node:
        case Chars(chars, negated):
            inner = "".join(re.escape(char) for char in sorted(chars))
            return f"[{'^' if negated else ''}{inner}]" if inner else "." if negated else r"(?!)"
        case Seq(first, rest):
            return to_regex(first) + to_regex(rest)
        case Star(part):
            return "" if part == NOTHING else f"(?:{to_regex(part)})*"
        case Either(parts):
            return f"(?:{'|'.join(sorted(to_regex(part) for part in parts))})"
        case _:
            raise ValueError("intersections and complements have no regular expression")
