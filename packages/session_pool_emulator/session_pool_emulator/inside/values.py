"""The last expression's value as JSON, beside the forms that IPython makes of it anyway."""

from __future__ import annotations

import json
import math
from typing import Any

MIME = "application/vnd.session-pool.value+json"
_PRIMITIVES = (bool, int, float, str)


def install(shell: Any) -> None:  # noqa: ANN401 - IPython's, which has no types
    """Make the display hook of `shell` add `MIME` to what it publishes for an expression's value."""
    hook = shell.displayhook
    compute = hook.compute_format_data

    def compute_with_value(result: object) -> tuple[dict[str, Any], dict[str, Any]]:
        formats, metadata = compute(result)
        formats[MIME] = describe(result)
        return formats, metadata

    hook.compute_format_data = compute_with_value


def describe(value: object) -> dict[str, Any]:
    """`{"json": value}` where JSON has such a value, with `"primitive"` for bool, int, float and str."""
    try:
        plain = json.loads(json.dumps(without_nan(value), allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return {}
    return {"json": plain, "primitive": isinstance(value, _PRIMITIVES)}


def without_nan(value: object) -> object:
    """JSON has no NaN and no infinity: the service answers null for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return value
