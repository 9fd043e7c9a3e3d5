"""Errors as problem documents (RFC 9457) with a stable type."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import (
    ConfigError,
    JobSuperseded,
    OutputError,
    PermanentError,
    PipelineError,
    PoolFull,
    RecipeError,
    RequestError,
    StateConflict,
    TransientError,
)

MEDIA_TYPE = "application/problem+json"
TYPE = "urn:image-pipeline:problem:"
RETRY_AFTER = 5
# By kind first, then by class; the first that fits.
BY_KIND = {
    "bad_request": (400, "The request is wrong"),
    "adhoc_not_allowed": (403, "The settings do not allow it"),
    "no_such_address": (404, "There is nothing at this address"),
    "source_gone": (404, "There is no such source"),
    "rendition_gone": (404, "There is no such rendition"),
    "unknown_job": (404, "There is no such job"),
    "unknown_slot": (404, "There is no such slot"),
    "unknown_run": (404, "There is no such run"),
    "unknown_plan": (404, "There is no such plan"),
    "method_not_allowed": (405, "The address does not take this method"),
    "source_changed": (409, "The source has changed"),
    "slot_cools_down": (409, "The session cannot be ended"),
    "body_too_large": (413, "The request is too large"),
    "unsupported_media_type": (415, "The request is of a type that is not taken"),
    "over_cap": (422, "It is more than may be done at once"),
    "key_reused": (422, "The key stands for another request"),
    "answer_too_large": (422, "The image is too large for an answer"),
    "timeout": (504, "It took too long"),
}
BY_CLASS: tuple[tuple[type[PipelineError], int, str], ...] = (
    (RecipeError, 422, "The recipe cannot be used"),
    (OutputError, 409, "The rendition's place is taken"),
    (PermanentError, 422, "The image cannot be processed"),
    (JobSuperseded, 409, "The source has changed"),
    (PoolFull, 503, "No session is free"),
    (TransientError, 503, "A service does not answer"),
    (StateConflict, 409, "It is not in a state in which that can be done"),
    (RequestError, 400, "The request is wrong"),
    (ConfigError, 503, "The pipeline is not set up"),
)
OTHER = (500, "Internal error")


class BadRequest(RequestError):  # noqa: N818 - named as HTTP names it
    """The request is not one that this API takes; the message says what to change."""


class Problem(BaseModel):
    """What went wrong, as RFC 9457 describes it."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(pattern=r"^urn:image-pipeline:problem:[a-z_]+$", description="A stable word for machines.")
    title: str
    status: int
    detail: str = Field(description="What happened, and what to change.")
    job: str | None = Field(None, description="The job that it is about.")
    stage: str | None = Field(None, description="Where the job failed.")


def problem(error: PipelineError, **about: Any) -> Problem:  # noqa: ANN401 - fields of Problem
    """The problem document of an error."""
    by_class = ((status, title) for kind, status, title in BY_CLASS if isinstance(error, kind))
    status, title = BY_KIND.get(error.kind) or next(by_class, OTHER)
    return Problem(type=TYPE + error.kind, title=title, status=status, detail=error.message, **about)


def unexpected() -> Problem:
    """The problem document of a bug: the log has the details, the answer has none."""
    return Problem(type=TYPE + "internal", title="Internal error", status=500, detail="see the log")
