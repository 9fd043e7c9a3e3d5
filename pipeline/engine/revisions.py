"""Revisions: whole numbers that grow when the same recipe and source give other bytes than before.

Each transform and encoder has its revision as an attribute, and `Output` has one for each option. The hash of a recipe
holds the revisions of the parts that the recipe uses; a row of the ledger holds the revision of the source's decoder.
A new revision therefore makes those jobs due whose renditions would change, and no others. A rename or a comment makes
no job due. `tests/engine/test_digests.py` fails when bytes change without a new revision.
"""

from __future__ import annotations

COMMON = 1
"""Revision of the steps that all jobs share: conversion to 8 bits, resampling of decoded pixels, and verification."""

DECODERS = {"JPEG": 2, "PNG": 2, "WEBP": 2, "GIF": 2, "TIFF": 2, "AVIF": 2, "BMP": 2, "HEIF": 2}
"""Revision of the decoder of each source format, by Pillow's name. Sources may have these formats only."""

GRAVITIES = {"face": 1, "smart": 2}
"""Revision of each gravity that looks at the pixels."""


def gravity_revisions(gravity: object) -> dict[str, int]:
    """Return the revisions of the gravities in a transform's parameter, a name or a list, by `gravity <name>`."""
    # `face` alone falls back to `smart`.
    names = ("face", "smart") if gravity == "face" else gravity if isinstance(gravity, (list, tuple)) else (gravity,)
    return {f"gravity {name}": GRAVITIES[name] for name in names if name in GRAVITIES}


def decoder_revision(source_format: str) -> int:
    """Return the revision of the decoder for a source format; 0 when there is no decoder."""
    return DECODERS.get(source_format, 0)
