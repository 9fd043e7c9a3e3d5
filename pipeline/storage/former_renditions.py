"""Former renditions: paths and ETags of what the last done job of a source and a recipe has committed.

The row carries them from claim to claim, so that a later job can delete those that it replaces at other paths.
"""

from collections.abc import Iterable, Mapping
from typing import Any


def committed(renditions: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return paths and ETags of the renditions of a row."""
    return {str(one["path"]): str(one["etag"]) for one in renditions if one.get("path") and one.get("etag")}


def replaced_by(renditions: Iterable[Mapping[str, Any]], former: Mapping[str, str]) -> dict[str, str]:
    """Return the former renditions at paths at which the new ones are not."""
    paths = {one.get("path") for one in renditions}
    return {path: etag for path, etag in former.items() if path not in paths}
