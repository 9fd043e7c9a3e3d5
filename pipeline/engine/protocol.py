"""The protocol between host and session: job documents, reports, and the line that carries the reports.

Host and session import this module, so both sides always agree. The engine prints the reports as the last line of
standard output. The service truncates streams without a mark: at 4,096 characters by default, perhaps at another length
if configured. The line therefore carries its own length and checksum. A report longer than `INLINE_REPORT_CHARACTERS`
is also written to a file, which the line names before any part that can be truncated.

Anything in the session can print, also a process that an earlier execution left behind. The host chooses a random key
for each execution. Only a line with a tag made with this key counts.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any, NotRequired, TypedDict

VERSION = 2
INLINE_REPORT_CHARACTERS = 3500
# Longer reports are in their file only.
MAX_LINE_CHARACTERS = 60_000
# Longest message of a failure.
MAX_MESSAGE_CHARACTERS = 2000
REPORT_MARK = "pipeline-report"


class Step(TypedDict):
    """One transform: its name and its validated parameters."""

    name: str
    params: dict[str, Any]


class Limits(TypedDict):
    """Limits on a source and its renditions. Pixels count over all frames."""

    max_pixels: int
    max_frames: int
    max_rendition_bytes: int
    max_rendition_pixels: int


class RenditionJob(TypedDict):
    """One rendition to make. `file` is its name in the session's directory.

    `options` are the options of the format. `output` holds the options that all formats share (see
    `encode.output.Output`).
    """

    name: str
    file: str
    format: str
    options: dict[str, Any]
    transforms: list[Step]
    output: NotRequired[dict[str, Any]]


class Job(TypedDict):
    """One source and one recipe, as the session gets them.

    `remove` names files of earlier jobs, which the engine deletes first. `report` is the file for the reports of all
    jobs of the execution, if they are long, and `pack` the file for their small renditions; the values of the first job
    count. `assets` maps the names of images and fonts to files in the session's directory, which stay there. `focal` is
    the source's point of interest as fractions of its width and height after orientation. `on_truncated` is "fail" or
    "patch". `hdr` is "tone_map" or "refuse", for sources in PQ or HLG.
    """

    version: int
    source: str
    report: str
    remove: list[str]
    formats: list[str]
    limits: Limits
    transforms: list[Step]
    renditions: list[RenditionJob]
    assets: NotRequired[dict[str, str]]
    focal: NotRequired[list[float] | None]
    on_truncated: NotRequired[str]
    hdr: NotRequired[str]
    pack: NotRequired[str]


class Failure(TypedDict):
    """Why a job has no renditions: a stable kind and a message that says what to change.

    `source_format` is the format of the source by its first bytes, empty when unknown.
    """

    kind: str
    message: str
    source_format: NotRequired[str]


class RenditionReport(TypedDict):
    """One rendition as made: size in bytes, sides in pixels, SHA-256 in hexadecimal.

    `format` is the written format, also where the recipe leaves the choice open. `extra` goes into the blob's metadata.
    `dropped` names information of the source that the rendition does not carry over (`encode.dropped`), in alphabetical
    order. `offset` is the position in the pack, for a rendition that is in it.
    """

    name: str
    file: str
    format: str
    size: int
    sha256: str
    width: int
    height: int
    ms: float
    extra: dict[str, str]
    dropped: list[str]
    offset: NotRequired[int | None]


class SourceReport(TypedDict):
    """The source as decoded: sides in pixels after orientation."""

    format: str
    mode: str
    width: int
    height: int
    frames: int


class Report(TypedDict):
    """The session's report on one job. `ms` holds milliseconds per stage.

    `tainted` describes changes that the jobs of this execution should not have left behind; empty when there are none.
    """

    version: int
    versions: dict[str, str]
    source: SourceReport | None
    renditions: list[RenditionReport]
    failure: Failure | None
    ms: dict[str, float]
    tainted: NotRequired[str]


class ProtocolError(ValueError):
    """The report is incomplete, or is not a report."""


def encode_jobs(*jobs: Job) -> str:
    """Encode jobs as base64 of UTF-8 JSON, the only form in which they appear in code."""
    return base64.b64encode(json.dumps(jobs, separators=(",", ":")).encode()).decode("ascii")


def decode_jobs(text: str) -> list[Job]:
    """Decode the result of `encode_jobs`.

    Raises:
        ProtocolError: the job document has another version than this engine.
    """
    jobs: list[Job] = json.loads(base64.b64decode(text, validate=True))
    for job in jobs:
        if job.get("version") != VERSION:
            raise ProtocolError(
                f"the job document has version {job.get('version')!r}; this engine reads version {VERSION}"
            )
    return jobs


def shorten_message(message: str) -> str:
    """Remove the middle of a message over `MAX_MESSAGE_CHARACTERS`: the event is at its start, the cause at its end."""
    if len(message) <= MAX_MESSAGE_CHARACTERS:
        return message
    head = message[:200] + " … "
    return head + message[len(head) - MAX_MESSAGE_CHARACTERS :]


def encode_reports(reports: list[Report]) -> bytes:
    """Encode reports as JSON in ASCII."""
    return json.dumps(reports, separators=(",", ":"), ensure_ascii=True).encode()


def report_line(body: bytes, key: str, file: str | None = None) -> str:
    """Build the line that carries `body`, unless it is too long, and names the `file` that holds it too.

    `key` is the key of the execution.
    """
    head = f"{len(body)} {hashlib.sha256(body).hexdigest()} {file or '-'}"
    carried = body.decode("ascii") if len(body) <= MAX_LINE_CHARACTERS else ""
    return f"{REPORT_MARK} {head} {line_tag(head, key)} {carried}"


def line_tag(head: str, key: str) -> str:
    """Return the HMAC of a line's length, checksum and file: 32 hexadecimal digits."""
    return hmac.digest(key.encode(), head.encode("utf-8", "replace"), "sha256").hex()[:32]


class ReportRef(TypedDict):
    """A parsed report line. `body` is None when it must be read from `file`."""

    size: int
    sha256: str
    body: bytes | None
    file: str | None


def parse_report_line(stdout: str, key: str) -> ReportRef | None:
    """Parse the last report line in `stdout` with a tag made with `key`. Return None when there is none.

    Raises:
        ProtocolError: the line is truncated and names no file, or its length is no number.
    """
    line = next((line for line in reversed(stdout.splitlines()) if _is_genuine(line, key)), None)
    if line is None:
        return None
    _, size, digest, file, _, carried = line.split(" ", 5)
    try:
        ref = ReportRef(size=int(size), sha256=digest, body=None, file=None if file == "-" else file)
    except ValueError:
        raise ProtocolError("the report line has no length") from None
    try:
        ref["body"] = check_report(carried.encode("utf-8", "replace"), ref)
    except ProtocolError:
        if ref["file"] is None:
            raise
    return ref


def _is_genuine(line: str, key: str) -> bool:
    """Return whether a line is the report line of the execution with this key."""
    mark, *head, tag, _ = line.split(" ", 5) if line.count(" ") >= 5 else ("", "", "")
    genuine = line_tag(" ".join(head), key).encode()
    return mark == REPORT_MARK and hmac.compare_digest(tag.encode("utf-8", "replace"), genuine)


def check_report(body: bytes, ref: ReportRef) -> bytes:
    """Return `body` when it has the size and checksum that the line states.

    Raises:
        ProtocolError: it does not.
    """
    if len(body) != ref["size"] or hashlib.sha256(body).hexdigest() != ref["sha256"]:
        raise ProtocolError("the report is incomplete: its length or checksum differs")
    return body
