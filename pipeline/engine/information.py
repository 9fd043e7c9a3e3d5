"""Information that a source carries besides its pixels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Information:
    """Information of a source, and the part of it that renditions may keep as elements of a new XMP packet.

    Attributes:
        names: Names (`encode.dropped`) of all that the source carries, also where it cannot be kept.
        label: The label of AI-generated content; empty when there is none that can be kept.
        rights: Rights and credits.
        complete: Those of the names of which the elements hold everything.
    """

    names: frozenset[str] = frozenset()
    label: str = ""
    rights: tuple[str, ...] = ()
    complete: frozenset[str] = frozenset()
