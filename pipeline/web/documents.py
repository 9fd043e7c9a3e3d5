"""Jobs as JSON documents."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from pipeline.storage.ledger import Entry, State
from pipeline.web.links import Links

DOCUMENT = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class SourceDocument(BaseModel):
    """The source of a job."""

    model_config = DOCUMENT

    container: str
    name: str
    etag: str
    """The version that the job was about; nothing before it has begun."""
    href: str


class RenditionDocument(BaseModel):
    """One rendition: size in bytes, sides in pixels."""

    model_config = DOCUMENT

    name: str
    format: str
    size: int
    sha256: str
    width: int
    height: int
    href: str


class ErrorDocument(BaseModel):
    """Why a job failed, or why it waits."""

    model_config = DOCUMENT

    kind: str
    message: str
    stage: str


class JobDocument(BaseModel):
    """A job: its state, its renditions with their addresses, its error."""

    model_config = DOCUMENT

    id: str
    href: str
    state: State
    recipe: str
    recipe_hash: str
    source: SourceDocument
    attempts: int
    changed: datetime | None
    renditions: list[RenditionDocument]
    error: ErrorDocument | None
    report: dict[str, Any] = Field(description="Facts about the source, versions, and milliseconds per stage.")

    @classmethod
    def of(cls, entry: Entry, links: Links) -> Self:
        """A row of the ledger as a document."""
        job_id = entry.key.id
        error = ErrorDocument(kind=entry.error_kind, message=entry.error_message, stage=entry.stage)
        place = SourceDocument(
            container=entry.container,
            name=entry.name,
            etag=entry.version.etag,
            href=links.to("jobs", job_id, "source"),
        )
        return cls(
            id=job_id,
            href=links.job(job_id),
            state=entry.state,
            recipe=entry.key.recipe,
            recipe_hash=entry.version.recipe_hash,
            source=place,
            attempts=entry.attempts,
            changed=entry.changed,
            renditions=[_rendition(each, links.rendition(job_id, each["name"])) for each in entry.renditions],
            error=error if entry.error_kind else None,
            report=entry.report,
        )


class AcceptedDocument(BaseModel):
    """A job that goes on: where to look."""

    model_config = DOCUMENT

    id: str
    href: str
    state: State


def _rendition(facts: dict[str, Any], href: str) -> RenditionDocument:
    known = {name: facts[name] for name in RenditionDocument.model_fields if name in facts}
    return RenditionDocument(**known, href=href)
