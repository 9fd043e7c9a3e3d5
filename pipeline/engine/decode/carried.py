"""Carried information: find what a source carries besides its pixels, without decoding them."""

from __future__ import annotations

from .source import Source


def carried_names(source: Source) -> frozenset[str]:
    """Return the names (`encode.dropped`) of information that the source carries."""
    return frozenset(source.dropped)
