"""What goes into a session and what comes back: the document of jobs, their reports, and the line that carries those.

Both sides import this module, so that neither can drift. The reports are printed as the last line of standard output.
The service cuts streams (at 4,096 characters unless told otherwise, and perhaps at some length whatever it is told)
without leaving a mark. So the line carries its own length and checksum, and what is longer than `LINE_LIMIT` also lies
in a file that the line names before anything that can be cut.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any, NotRequired, TypedDict

VERSION = 2
INLINE_REPORT_CHARACTERS = 3500
# Longer reports are in their file alone.
MAX_LINE_CHARACTERS = 60_000
# The most characters of the sentence that says why there are no renditions.
MAX_MESSAGE_CHARACTERS = 2000
REPORT_MARK = "pipeline-report"


class Step(TypedDict):
    """One transform: its name and its validated parameters."""

    name: str
    params: dict[str, Any]


class Limits(TypedDict):
    """What a source and its renditions may cost. Pixels count over all frames."""

    max_pixels: int
    max_frames: int
    max_rendition_bytes: int
    max_rendition_pixels: int


class RenditionJob(TypedDict):
    """One rendition to make: `file` is the name it gets in the session's directory.

    `options` are those of the format, `output` those that every format has (see `output.Output`).
    """

    name: str
    file: str
    format: str
    options: dict[str, Any]
    transforms: list[Step]
    output: NotRequired[dict[str, Any]]


class Job(TypedDict):
    """One source × one recipe, as the session sees it. `remove` names files of earlier jobs, deleted first; `report`
    the file for the reports of all jobs that run together, should they be long, and `pack` that for their small
    renditions (the first job's counts).

    `assets` says under which file names the pictures and fonts of the recipe lie in the session's directory (they are
    left there), `focal` is the source's point of interest as fractions of its width and height as seen, and
    `on_truncated` is "fail" or "patch".
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
    pack: NotRequired[str]


class Failure(TypedDict):
    """Why there are no renditions: a stable kind and a sentence that says what to change.

    `source_format` is the format of the source by its first bytes, empty when it is unknown.
    """

    kind: str
    message: str
    source_format: NotRequired[str]


class RenditionReport(TypedDict):
    """One rendition as made: size in bytes, sides in pixels, SHA-256 in hexadecimal.

    `format` is the one that was written, also where the recipe left the choice. `extra` is for the blob's metadata.
    `at` says where in the pack, if there is one, it begins.
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
    at: NotRequired[int | None]


class SourceReport(TypedDict):
    """The source as decoded: sides in pixels after orientation."""

    format: str
    mode: str
    width: int
    height: int
    frames: int


class Report(TypedDict):
    """What the session says of one job. `ms` holds milliseconds per stage.

    `tainted` says what the jobs of this execution have left behind that they should not, if they have.
    """

    version: int
    versions: dict[str, str]
    source: SourceReport | None
    renditions: list[RenditionReport]
    failure: Failure | None
    ms: dict[str, float]
    tainted: NotRequired[str]


class ProtocolError(ValueError):
    """A report that is not whole, or not a report."""


def encode_jobs(*jobs: Job) -> str:
    """Jobs as base64 of UTF-8 JSON: the only form in which they ever stand in code."""
    return base64.b64encode(json.dumps(jobs, separators=(",", ":")).encode()).decode("ascii")


def decode_jobs(text: str) -> list[Job]:
    """The inverse of `encode_jobs`."""
    jobs: list[Job] = json.loads(base64.b64decode(text, validate=True))
    for job in jobs:
        if job.get("version") != VERSION:
            raise ProtocolError(f"job document of version {job.get('version')!r}; this engine reads version {VERSION}")
    return jobs


def shorten_message(message: str) -> str:
    """A message without its middle where it is too long: what happened stands at its start, why at its end."""
    if len(message) <= MAX_MESSAGE_CHARACTERS:
        return message
    head = message[:200] + " … "
    return head + message[len(head) - MAX_MESSAGE_CHARACTERS :]


def encode_reports(reports: list[Report]) -> bytes:
    """The reports as UTF-8 JSON with only ASCII characters in it."""
    return json.dumps(reports, separators=(",", ":"), ensure_ascii=True).encode()


def report_line(body: bytes, file: str | None = None) -> str:
    """The line that carries `body`, if it is not too long for that, and says in which `file` it lies as well."""
    digest = hashlib.sha256(body).hexdigest()
    carried = body.decode("ascii") if len(body) <= MAX_LINE_CHARACTERS else ""
    return f"{REPORT_MARK} {len(body)} {digest} {file or '-'} {carried}"


class ReportRef(TypedDict):
    """A report line taken apart: the `body`, or None when that has to be read from the `file`."""

    size: int
    sha256: str
    body: bytes | None
    file: str | None


def parse_report_line(stdout: str) -> ReportRef | None:
    """The last report line in `stdout`; None when there is none. ProtocolError when it is cut and names no file."""
    lines = [line for line in stdout.splitlines() if line.startswith(REPORT_MARK + " ")]
    if not lines:
        return None
    try:
        _, size, digest, file, carried = lines[-1].split(" ", 4)
        ref = ReportRef(size=int(size), sha256=digest, body=None, file=None if file == "-" else file)
    except ValueError:
        raise ProtocolError("the report line is cut short") from None
    try:
        ref["body"] = check_report(carried.encode("utf-8", "replace"), ref)
    except ProtocolError:
        if ref["file"] is None:
            raise
    return ref


def check_report(body: bytes, ref: ReportRef) -> bytes:
    """`body` again, when it has the size and the checksum that the line promised."""
    if len(body) != ref["size"] or hashlib.sha256(body).hexdigest() != ref["sha256"]:
        raise ProtocolError("the report is not whole: its length or checksum differs")
    return body
