"""Jobs as JSON documents."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from pipeline.api.links import Links
from pipeline.storage.entry import Entry, State

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
    class_: str = Field(alias="class")
    """Where it stands in the tree of errors."""
    message: str
    stage: str
    said: str
    """The end of what the session printed."""


class JobDocument(BaseModel):
    """A job: its state, its renditions with their addresses, its error."""

    model_config = DOCUMENT

    id: str
    href: str
    state: State
    recipe: str
    recipe_hash: str
    source: SourceDocument
    since: datetime
    """When it entered its state."""
    run: str
    """The last run that it was part of."""
    attempts: int
    bytes_in: int
    bytes_out: int
    ms: dict[str, float]
    """Milliseconds per stage."""
    renditions: list[RenditionDocument]
    error: ErrorDocument | None
    report: dict[str, Any] | None
    """Facts about the source, versions and times; null in a list."""

    @classmethod
    def of(cls, entry: Entry, links: Links, *, listed: bool = False) -> Self:
        """A row of the ledger as a document; `listed` when it comes from a list."""
        job_id = entry.key.id
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
            # Tables keep less of a time than Python does: a job is to look the same now and later.
            since=entry.since.replace(microsecond=entry.since.microsecond // 1000 * 1000),
            run=entry.run,
            attempts=entry.attempts,
            bytes_in=entry.bytes_in,
            bytes_out=entry.bytes_out,
            ms=entry.ms,
            renditions=[_rendition(each, links.rendition(job_id, each["name"])) for each in entry.renditions],
            error=_error(entry) if entry.error_kind else None,
            report=None if listed else entry.report,
        )


class AcceptedDocument(BaseModel):
    """A job that goes on: where to look."""

    model_config = DOCUMENT

    id: str
    href: str
    state: State


class JobsDocument(BaseModel):
    """A page of jobs."""

    model_config = DOCUMENT

    jobs: list[JobDocument]
    next: str | None
    """Where the next page is. A page by name may be short, or empty, and yet not be the last."""


def _error(entry: Entry) -> ErrorDocument:
    return ErrorDocument(
        kind=entry.error_kind,
        **{"class": entry.error_class},
        message=entry.error_message,
        stage=entry.stage,
        said=entry.error_tail,
    )


def _rendition(facts: dict[str, Any], href: str) -> RenditionDocument:
    known = {name: facts[name] for name in RenditionDocument.model_fields if name in facts}
    return RenditionDocument(**known, href=href)
