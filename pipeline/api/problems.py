"""Problem documents (RFC 9457): errors as JSON with a stable type."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import PipelineError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:image-pipeline:problem:"
RETRY_AFTER_SECONDS = 5


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(pattern=r"^urn:image-pipeline:problem:[a-z_]+$", description="Stable identifier of the error.")
    title: str
    status: int
    detail: str = Field(description="The error, and the change that avoids it.")
    job: str | None = Field(None, description="Id of the job that the error is about.")
    stage: str | None = Field(None, description="Stage at which the job failed.")


def problem(error: PipelineError, **fields: Any) -> Problem:  # noqa: ANN401 - fields of Problem
    """Return the problem document of an error; `fields` are `job` and `stage`."""
    status, title = error.status_and_title
    return Problem(type=TYPE_PREFIX + error.kind, title=title, status=status, detail=error.message, **fields)
