"""Errors as answers: RFC 9457 problem documents with a stable type."""

from __future__ import annotations

import json
from typing import Any

import azure.functions as func

from pipeline.errors import (
    ConfigError,
    JobOvertaken,
    OutputError,
    PermanentError,
    PipelineError,
    PoolFull,
    RecipeError,
    TransientError,
)

MEDIA_TYPE = "application/problem+json"
TYPE = "urn:image-pipeline:problem:"
RETRY_AFTER = 5
# By kind first, then by class; the first that fits.
BY_KIND = {
    "source_gone": 404,
    "rendition_gone": 404,
    "unknown_job": 404,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "bad_request": 400,
}
BY_CLASS: tuple[tuple[type[PipelineError], int, str], ...] = (
    (RecipeError, 422, "The recipe cannot be used"),
    (OutputError, 409, "The rendition's place is taken"),
    (PermanentError, 422, "The image cannot be processed"),
    (JobOvertaken, 409, "The source has changed"),
    (PoolFull, 503, "No session is free"),
    (TransientError, 503, "A service does not answer"),
    (ConfigError, 500, "The pipeline is not set up"),
)


class BadRequest(PipelineError):  # noqa: N818 - named as HTTP names it
    """The request is not one that this API takes; the message says what to change."""

    default_kind = "bad_request"


def problem(error: PipelineError, **more: Any) -> func.HttpResponse:  # noqa: ANN401 - JSON
    """The answer for an error."""
    status, title = next(
        ((status, title) for kind, status, title in BY_CLASS if isinstance(error, kind)),
        (400, "The request is wrong"),
    )
    status = BY_KIND.get(error.kind, status)
    document = {"type": TYPE + error.kind, "title": title, "status": status, "detail": error.message, **more}
    headers = {"Retry-After": str(RETRY_AFTER)} if status == 503 else {}
    return func.HttpResponse(json.dumps(document), status_code=status, headers=headers, mimetype=MEDIA_TYPE)


def unexpected() -> func.HttpResponse:
    """The answer for a bug: the log has the details, the answer has none."""
    document = {"type": TYPE + "internal", "title": "Internal error", "status": 500, "detail": "see the log"}
    return func.HttpResponse(json.dumps(document), status_code=500, mimetype=MEDIA_TYPE)
