"""Find a boundary in the middle of a range of names, by a few listings of a single blob each."""

import asyncio
from collections.abc import Awaitable, Callable

FirstName = Callable[[str], Awaitable[str]]
"""Returns the first name at or behind a name; empty if there is none."""

# Above these, orders of names differ between code points and UTF-16, so that no name is a safe boundary.
_SURROGATES = 0xD800
# Names hold no control characters, and storage refuses to search for them.
_LAST_ASCII, _FIRST_LATIN = 0x7E, 0xA0
MAX_LEVELS = 100
CONCURRENT_PROBES = 16


async def middle_name(first_name: FirstName, after: str, end: str) -> str:
    """Return a boundary that divides the names between `after` and `end`, both exclusive; empty if there is none.

    The division is by the shortest beginning that the names do not have in common: by folders, if there are several,
    otherwise by the first digits or letters that differ. An empty `end` is the end of all names.
    """

    async def found(name: str, stem: str) -> str:
        first = await first_name(name)
        return first if first.startswith(stem) and (not end or first < end) else ""

    stem, sibling = await _branch(found, after)
    if not sibling:
        return ""
    level = len(stem)
    low, high = ord(sibling[level]), _SURROGATES
    while high - low > 1:
        middle = _searchable((low + high) // 2, low, high)
        name = await found(stem + chr(middle), stem)
        if name and ord(name[level]) < _SURROGATES:
            low, sibling = ord(name[level]), name
        else:
            high = _LAST_ASCII + 1 if middle == _FIRST_LATIN else middle
    # The first of these names at or behind the middle between the name before and the last one.
    middle = _searchable((ord(after[level]) + low + 1) // 2, ord(after[level]), low + 1)
    name = await found(stem + chr(middle), stem) or sibling
    # The shortest boundary: the fewer characters decide, the fewer orders of names can differ there.
    boundary = name[: level + 1]
    return boundary if max(map(ord, boundary)) < _SURROGATES and boundary > after else ""


async def _branch(found: Callable[[str, str], Awaitable[str]], after: str) -> tuple[str, str]:
    """Return the shortest beginning that `after` has in common with a later name, and the first such name."""
    levels = [level for level, char in enumerate(after[:MAX_LEVELS]) if ord(char) < _SURROGATES - 1]
    for start in range(0, len(levels), CONCURRENT_PROBES):
        chunk = levels[start : start + CONCURRENT_PROBES]
        probes = [found(after[:level] + chr(_next(ord(after[level]))), after[:level]) for level in chunk]
        for level, name in zip(chunk, await asyncio.gather(*probes), strict=True):
            if name and ord(name[level]) < _SURROGATES:
                return after[:level], name
    return "", ""


def _next(code: int) -> int:
    return _FIRST_LATIN if _LAST_ASCII <= code < _FIRST_LATIN else code + 1


def _searchable(code: int, low: int, high: int) -> int:
    """Return a code between two others that is no control character. Most names are ASCII: look beyond it once only."""
    if low <= _LAST_ASCII and high > _FIRST_LATIN:
        return _FIRST_LATIN
    return min(code, _LAST_ASCII) if low < _LAST_ASCII < code < _FIRST_LATIN else code
