"""Sets of strings, and whether they can meet: regular expressions with intersection and complement, by derivatives.

The derivative of a set by a character is what may follow it (Brzozowski, "Derivatives of Regular Expressions", 1964).
A set is empty when no chain of derivatives leads to one that holds the empty string; the chain found first spells out
an example, which is what an error message needs. Case does not count: everything is lower case in here.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from functools import lru_cache

MOST_STATES = 20_000
"""Real patterns need a few dozen; this stops one that was built to explode."""


@dataclass(frozen=True)
class Chars:
    """One character: one of `chars`, or, when `negated`, any other."""

    chars: frozenset[str]
    negated: bool = False


@dataclass(frozen=True)
class Seq:
    """One string of the first set, then one of the rest."""

    first: Node
    rest: Node


@dataclass(frozen=True)
class Star:
    """Any number of strings of the set, one after the other."""

    part: Node


@dataclass(frozen=True)
class Either:
    """The strings of all parts."""

    parts: frozenset[Node]


@dataclass(frozen=True)
class Both:
    """The strings that are in every part."""

    parts: frozenset[Node]


@dataclass(frozen=True)
class Not:
    """Every string that is not in the set."""

    part: Node


Node = Chars | Seq | Star | Either | Both | Not

NOTHING: Node = Chars(frozenset())
EMPTY: Node = Star(NOTHING)
ANY_CHAR: Node = Chars(frozenset(), negated=True)
ANYTHING: Node = Star(ANY_CHAR)
IN_SEGMENT: Node = Chars(frozenset("/"), negated=True)
SEGMENT: Node = Seq(IN_SEGMENT, Star(IN_SEGMENT))


def text(literal: str) -> Node:
    """The one string `literal`."""
    return sequence([Chars(frozenset(char)) for char in literal.lower()])


def sequence(parts: list[Node]) -> Node:
    """One string of each part, in order."""
    node = EMPTY
    for part in reversed(parts):
        node = _then(part, node)
    return node


def either(parts: list[Node]) -> Node:
    """The strings of all parts."""
    flat: set[Node] = set()
    for part in parts:
        flat |= part.parts if isinstance(part, Either) else {part}
    flat.discard(NOTHING)
    if len(flat) == 1:
        return flat.pop()
    return Either(frozenset(flat)) if flat else NOTHING


def both(parts: list[Node]) -> Node:
    """The strings that are in every part."""
    flat: set[Node] = set()
    for part in parts:
        flat |= part.parts if isinstance(part, Both) else {part}
    if NOTHING in flat:
        return NOTHING
    flat.discard(ANYTHING)
    if len(flat) == 1:
        return flat.pop()
    return Both(frozenset(flat)) if flat else ANYTHING


def _then(first: Node, rest: Node) -> Node:
    if NOTHING in (first, rest):
        return NOTHING
    if first == EMPTY:
        return rest
    if rest == EMPTY:
        return first
    return Seq(first.first, _then(first.rest, rest)) if isinstance(first, Seq) else Seq(first, rest)


NAMES: Node = _then(SEGMENT, Star(Seq(Chars(frozenset("/")), SEGMENT)))
"""Blob names without odd parts: folders and a file name, none of them empty."""


@lru_cache(maxsize=100_000)
def has_empty(node: Node) -> bool:
    """True when the empty string is in the set."""
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


@lru_cache(maxsize=100_000)
def derive(node: Node, char: str) -> Node:
    """What may follow `char` in the strings of the set that start with it."""
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
            return _without(derive(part, char))


def _without(node: Node) -> Node:
    return node.part if isinstance(node, Not) else Not(node)


def difference(node: Node, excluded: Node) -> Node:
    """The strings of the one that are not in the other."""
    return both([node, _without(excluded)])


def example(node: Node) -> str | None:
    """The shortest string of the set; None when there is none. Raise ValueError when it is too intricate to tell."""
    alphabet = sorted(_alphabet(node))
    seen = {node}
    queue = deque([(node, "")])
    while queue:
        state, spelled = queue.popleft()
        if has_empty(state):
            return spelled
        for char in alphabet:
            after = derive(state, char)
            if after != NOTHING and after not in seen:
                seen.add(after)
                queue.append((after, spelled + char))
        if len(seen) > MOST_STATES:
            raise ValueError("the patterns are too intricate to compare: make them simpler")
    return None


def _alphabet(node: Node) -> set[str]:
    """The characters that make a difference, and a stand-in for all others."""
    found: set[str] = set()
    queue = [node]
    while queue:
        match queue.pop():
            case Chars(chars):
                found |= chars
            case Seq(first, rest):
                queue += [first, rest]
            case Star(part) | Not(part):
                queue.append(part)
            case Either(parts) | Both(parts):
                queue += parts
    others = (char for char in "xyzabcdefghijklmnopqrstuvw_~\u00e9\u4e00" if char not in found)
    return found | {next(others, "\ufffd")}


def to_regex(node: Node) -> str:
    """The set as text for Python's `re` (no Both and no Not)."""
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
