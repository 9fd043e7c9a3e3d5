"""JSON schemas of jobs, and types that several queries share."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints

from pipeline.api.http import Links
from pipeline.engine.encode.dropped import DroppedName
from pipeline.monitoring.document import Document
from pipeline.runs.selection import PRINTABLE
from pipeline.storage import Entry, State

PrintableText = Annotated[str, Field(max_length=1024, pattern=PRINTABLE)]
RecipeName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100, pattern=r"^[a-z0-9_~][a-z0-9_-]*$"),
    Field(description="Name of the recipe.", examples=["web"]),
]


class SourceDocument(Document):
    """The source of a job."""

    container: str
    name: str
    etag: str | None
    """Version that the job processes; empty before the job has started, and null in a list by time."""
    href: str


class RenditionBase(Document):
    """Facts about a rendition: size in bytes, width and height in pixels."""

    name: str
    format: str
    size: int
    sha256: str
    width: int
    height: int
    dropped: list[DroppedName] = Field(default_factory=list)
    """Information of the source that the rendition does not carry over; `docs/recipes.md` explains the names."""


class RenditionDocument(RenditionBase):
    """A rendition: size in bytes, width and height in pixels."""

    href: str


class ErrorDocument(Document):
    """The reason for which a job failed, or waits for its next attempt."""

    kind: str
    class_: str = Field(alias="class")
    """Class of the error, such as SourceError."""
    message: str
    stage: str
    stderr_tail: str
    """End of the session's error output."""


class AcceptedDocument(Document):
    """A job that has not ended yet, with its URL."""

    id: str
    href: str
    state: State


class WaitingDocument(AcceptedDocument):
    """A submitted job that has not ended yet."""

    reason: str
    """Reason for which the job waits, such as a pause or a cap on the cost; empty if there is none."""


class JobDocument(AcceptedDocument):
    """A job: its state, its renditions with their URLs, its error."""

    recipe: str
    recipe_hash: str | None
    """Null in a list by time, like the ETag of the source, the milliseconds and the renditions."""
    source: SourceDocument
    since: datetime
    """Time at which the job entered its state."""
    claim_expired: bool
    """True for a running job whose worker has stopped. Its message, or the recovery of lost messages, starts it again;
    `retry` does so at once.
    """
    run: str
    """Id of the last run that the job was part of."""
    attempts: int
    bytes_in: int
    bytes_out: int
    ms: dict[str, float] | None
    """Milliseconds per stage."""
    renditions: list[RenditionDocument] | None
    error: ErrorDocument | None
    report: dict[str, Any] | None
    """Facts about the source, versions and durations; null in a list."""

    @classmethod
    def of(cls, entry: Entry, links: Links, *, listed: bool = False) -> Self:
        """Convert a row of the ledger; pass `listed=True` for a job of a list, of which only a summary is known."""
        job_id, is_whole = entry.key.id, entry.summary is None
        source = SourceDocument(
            container=entry.container,
            name=entry.name,
            etag=entry.version.etag if is_whole else None,
            href=links.to("jobs", job_id, "source"),
        )
        return cls(
            id=job_id,
            href=links.to("jobs", job_id),
            state=entry.state,
            recipe=entry.key.recipe,
            recipe_hash=entry.version.recipe_hash if is_whole else None,
            source=source,
            # Tables store less precision than Python: a job must look the same before and after it is stored.
            since=entry.since.replace(microsecond=entry.since.microsecond // 1000 * 1000),
            claim_expired=entry.claim_expired,
            run=entry.run,
            attempts=entry.attempts,
            bytes_in=entry.bytes_in,
            bytes_out=entry.bytes_out,
            ms=entry.ms if is_whole else None,
            renditions=[
                _rendition(each, links.to("jobs", job_id, "renditions", each["name"])) for each in entry.renditions
            ]
            if is_whole
            else None,
            error=_error(entry) if entry.error_kind else None,
            report=None if listed else entry.report,
        )


class JobsDocument(Document):
    """A page of jobs."""

    jobs: list[JobDocument]
    next: str | None
    """URL of the next page, which contains the cursor; null on the last page. A page sorted by name, or of a run, may
    be short or empty without being the last.
    """


def _error(entry: Entry) -> ErrorDocument:
    return ErrorDocument(
        kind=entry.error_kind,
        **{"class": entry.error_class},
        message=entry.error_message,
        stage=entry.stage,
        stderr_tail=entry.error_tail,
    )


def _rendition(facts: dict[str, Any], href: str) -> RenditionDocument:
    return RenditionDocument(
        **{name: facts[name] for name in RenditionDocument.model_fields if name in facts}, href=href
    )
