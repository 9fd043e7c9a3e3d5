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


def used_metadata(recipe: Recipe, metadata: Mapping[str, str], tags: Mapping[str, str]) -> str:
    """Return the metadata and tags that decide the renditions, as one text to compare; empty without any."""
    used: dict[str, object] = {}
    if carried := {name: metadata[name] for name in recipe.carry if name in metadata}:
        used["carry"] = carried
    if recipe.needs_focal_point and (focal := focal_point_of(metadata, tags)):
        used["focal"] = focal
    return json.dumps(used, sort_keys=True, separators=(",", ":")) if used else ""


def metadata_digest(used: str) -> str:
    """Return a short digest of the result of `used_metadata` for the mark of a rendition; empty without any."""
    return hashlib.sha256(used.encode()).hexdigest()[:16] if used else ""
