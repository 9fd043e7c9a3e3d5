"""JSON out: text that a session made may hold anything, so everything but ASCII is escaped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from starlette.responses import Response


def json_response(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`body` as JSON."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=True)
    return Response(text, status_code=status, headers=headers, media_type="application/json; charset=utf-8")


def timestamp(moment: datetime) -> str:
    """RFC 3339, UTC, milliseconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
