"""Metadata of a source that decide its renditions: the focal point, and metadata that the recipe carries over."""

import hashlib
import json
from collections.abc import Mapping

from pipeline.recipes import Recipe, focal_point

FOCAL_POINT_KEY = "focal"


def focal_point_of(metadata: Mapping[str, str], tags: Mapping[str, str]) -> tuple[float, float] | None:
    """Return the focal point in the metadata of a blob or, failing that, in its index tags; None without one."""
    return focal_point(metadata.get(FOCAL_POINT_KEY)) or focal_point(tags.get(FOCAL_POINT_KEY))


def needs_tags(recipe: Recipe, metadata: Mapping[str, str]) -> bool:
    """Return True if the focal point may be in the index tags. Reading them costs a call."""
    return recipe.needs_focal_point and focal_point(metadata.get(FOCAL_POINT_KEY)) is None


def used_metadata(recipe: Recipe, metadata: Mapping[str, str], tags: Mapping[str, str] | None, before: str = "") -> str:
    """Return the metadata and tags that decide the renditions, as one text to compare; empty without any.

    If the tags are unknown (None), a focal point that may be in them is the one in `before`, an earlier result.
    """
    used: dict[str, object] = {}
    if carried := {name: metadata[name] for name in recipe.carry if name in metadata}:
        used["carry"] = carried
    if recipe.needs_focal_point:
        focal = focal_point_of(metadata, tags or {}) or (_focal_point_in(before) if tags is None else None)
        if focal:
            used["focal"] = focal
    return json.dumps(used, sort_keys=True, separators=(",", ":")) if used else ""


def _focal_point_in(used: str) -> object:
    """Return the focal point in a result of `used_metadata`, or None. An edited row may hold any text."""
    try:
        stored = json.loads(used or "{}")
    except ValueError:
        return None
    return stored.get("focal") if isinstance(stored, dict) else None


def metadata_digest(used: str) -> str:
    """Return a short digest of the result of `used_metadata` for the mark of a rendition; empty without any."""
    return hashlib.sha256(used.encode()).hexdigest()[:16] if used else ""
