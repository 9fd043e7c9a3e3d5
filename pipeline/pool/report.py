"""Validate the session's report: every field has a type and a limit; unknown fields are dropped."""

import json
from typing import Annotated, Literal, Self, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pipeline.engine import protocol
from pipeline.engine.encode.dropped import NAMES, DroppedName
from pipeline.errors import SessionReplyError
from pipeline.telemetry import printable

Side = Annotated[int, Field(ge=1, le=2**31)]
# Short printable ASCII, so that every report fits into a row of the ledger.
Word = Annotated[str, Field(pattern=r"^[\x20-\x7e]{0,100}$")]
# Metadata of a blob travels in HTTP headers.
ExtraName = Literal["patched", "dominant_color", "thumbhash", "blurhash"]
ExtraValue = Annotated[str, Field(pattern=r"^[\x20-\x7e]{1,500}$")]


def _legible(message: str) -> str:
    """Escape control characters except line ends: terminals show the message, which may be a traceback."""
    return printable(message, keep="\n")


class _Part(BaseModel):
    # NaN and Infinity are not JSON: a client could not parse the job's API response.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class SourceFacts(_Part):
    """Facts about the decoded source; sides in pixels after orientation."""

    format: Word
    mode: Word
    width: Side
    height: Side
    frames: Side


class RenditionFacts(_Part):
    """Facts about one rendition: size in bytes, sides in pixels, `ms` in milliseconds, `at` its offset in the pack.

    `dropped` names information of the source that the rendition does not carry over.
    """

    name: Word
    file: Word
    format: Word
    size: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    width: Side
    height: Side
    ms: float = Field(0, ge=0)
    offset: int | None = Field(None, ge=0)
    extra: dict[ExtraName, ExtraValue] = Field(default_factory=dict, max_length=10)
    dropped: list[DroppedName] = Field(default_factory=list, max_length=len(NAMES))

    @property
    def as_reported(self) -> protocol.RenditionReport:
        """Return the facts in the form of the engine's protocol."""
        return cast("protocol.RenditionReport", self.model_dump())


class FailureFacts(_Part):
    """Reason why there are no renditions."""

    kind: str = Field(pattern=r"^[a-z_]{1,40}$")
    message: Annotated[str, AfterValidator(_legible)] = Field(max_length=protocol.MAX_MESSAGE_CHARACTERS)
    source_format: Word = ""


class SessionReport(_Part):
    """Report of a session on one job; `ms` holds milliseconds per stage, `tainted` the engine's tamper check."""

    version: int
    versions: dict[Word, Word] = Field(max_length=50)
    source: SourceFacts | None
    renditions: list[RenditionFacts] = Field(max_length=100)
    failure: FailureFacts | None
    ms: dict[Word, float] = Field(max_length=50)
    tainted: Annotated[str, AfterValidator(printable)] = Field("", max_length=2000)

    @classmethod
    def parse_all(cls, body: bytes, count: int) -> list[Self]:
        """Parse the reports of `count` jobs. Raises SessionReplyError for anything else."""
        try:
            items = json.loads(body)
            if not isinstance(items, list) or len(items) != count:
                raise SessionReplyError(f"the session's report is not a list of {count} job reports")
            reports = [cls.model_validate(item) for item in items]
        except (ValueError, RecursionError, ValidationError) as error:
            raise SessionReplyError(f"cannot parse the session's report: {printable(str(error)[:300])}") from None
        for report in reports:
            if report.version != protocol.VERSION:
                raise SessionReplyError(f"the session's report has version {report.version}, not {protocol.VERSION}")
        return reports
