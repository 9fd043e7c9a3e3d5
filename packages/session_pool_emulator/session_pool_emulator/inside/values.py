"""Publish the value of the last expression as JSON, in addition to the formats of IPython."""

import json
import math
from typing import Any

MIME = "application/vnd.session-pool.value+json"
_PRIMITIVES = (bool, int, float, str)


def install(shell: Any) -> None:  # noqa: ANN401 - IPython has no types
    """Make the display hook of an IPython shell publish the value under the MIME type `MIME`."""
    hook = shell.displayhook
    compute = hook.compute_format_data

    def compute_with_value(result: object) -> tuple[dict[str, Any], dict[str, Any]]:
        """Add the value to the formats of a result."""
        formats, metadata = compute(result)
        formats[MIME] = describe_value(result)
        return formats, metadata

    hook.compute_format_data = compute_with_value


def describe_value(value: object) -> dict[str, Any]:
    """Return `{"json": …, "primitive": …}`, or an empty object if JSON cannot represent the value.

    `primitive` is true for bool, int, float and str.
    """
    try:
        converted = json.loads(json.dumps(replace_nan(value), allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return {}
    return {"json": converted, "primitive": isinstance(value, _PRIMITIVES)}


def replace_nan(value: object) -> object:
    """Replace NaN and infinity with None, also inside dicts and lists: JSON has no such numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: replace_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replace_nan(item) for item in value]
    return value
