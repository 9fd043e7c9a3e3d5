"""The session's report, as far as it is believed: every field checked, within bounds, nothing else."""

from __future__ import annotations

import json
from typing import Annotated, Literal, Self, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pipeline.engine import protocol
from pipeline.errors import SessionReplyError
from pipeline.telemetry import printable

Side = Annotated[int, Field(ge=1, le=2**31)]
# Short and plain, so that a report has room in a row of the ledger whatever it says.
Word = Annotated[str, Field(pattern=r"^[\x20-\x7e]{0,100}$")]
# What becomes metadata of a blob has to be fit for an HTTP header.
ExtraName = Literal["patched", "dominant_color", "thumbhash", "blurhash"]
ExtraValue = Annotated[str, Field(pattern=r"^[\x20-\x7e]{1,500}$")]


def _legible(message: str) -> str:
    """It may be a traceback. It is shown on terminals, which obey control characters."""
    return printable(message, but="\n")


class _Part(BaseModel):
    # NaN and Infinity are not JSON: whoever asks for the job later could not read the answer.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class SourceFacts(_Part):
    """The source as decoded, sides in pixels after orientation."""

    format: Word
    mode: Word
    width: Side
    height: Side
    frames: Side


class RenditionFacts(_Part):
    """One rendition as made: size in bytes, sides in pixels."""

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

    @property
    def as_reported(self) -> protocol.RenditionReport:
        """In the form in which sessions report it."""
        return cast("protocol.RenditionReport", self.model_dump())


class FailureFacts(_Part):
    """Why there are no renditions."""

    kind: str = Field(pattern=r"^[a-z_]{1,40}$")
    message: Annotated[str, AfterValidator(_legible)] = Field(max_length=protocol.MAX_MESSAGE_CHARACTERS)
    source_format: Word = ""


class SessionReport(_Part):
    """What the session says of one job; milliseconds per stage in `ms`."""

    version: int
    versions: dict[Word, Word] = Field(max_length=50)
    source: SourceFacts | None
    renditions: list[RenditionFacts] = Field(max_length=100)
    failure: FailureFacts | None
    ms: dict[Word, float] = Field(max_length=50)
    tainted: Annotated[str, AfterValidator(printable)] = Field("", max_length=2000)

    @classmethod
    def parse_all(cls, body: bytes, count: int) -> list[Self]:
        """Read the reports of `count` jobs; SessionReplyError when that is not what it is."""
        try:
            found = json.loads(body)
            if not isinstance(found, list) or len(found) != count:
                raise SessionReplyError(f"the session does not report on {count} jobs, as was asked")
            reports = [cls.model_validate(each) for each in found]
        except (ValueError, RecursionError, ValidationError) as error:
            raise SessionReplyError(f"the session's report cannot be read: {printable(str(error)[:300])}") from None
        for report in reports:
            if report.version != protocol.VERSION:
                raise SessionReplyError(f"the session's report has version {report.version}, not {protocol.VERSION}")
        return reports
