"""Search of all states that are reachable from a first one; each is visited once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from pipeline.testing.store import Op

S = TypeVar("S", bound=Hashable)


class Violation(AssertionError):  # noqa: N818 - a finding
    """An invariant does not hold."""


def changes(op: Op) -> bool:
    """Tell whether an operation can change anything."""
    return op[0] not in ("row.get", "blob.get", "blob.head", "blob.list", "sleep")


def explored(first: S, following: Callable[[S], Iterable[S]], check: Callable[[S], None]) -> tuple[int, int]:
    """Check each reachable state. Returns the numbers of states and of steps."""
    seen, frontier = {first}, [first]
    states = steps = 0
    while frontier:
        state = frontier.pop()
        states += 1
        check(state)
        for one in following(state):
            steps += 1
            if one not in seen:
                seen.add(one)
                frontier.append(one)
    return states, steps
