"""JSON responses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from starlette.responses import Response


def json_response(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return `body` as JSON, with all characters except ASCII escaped: output of a session can contain any text."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=True)
    return Response(text, status_code=status, headers=headers, media_type="application/json; charset=utf-8")


def format_timestamp(moment: datetime) -> str:
    """Format a UTC time according to RFC 3339, with milliseconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
