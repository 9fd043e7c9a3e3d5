"""Multipart forms (RFC 7578): one pass over the body. The parts are views of the body, not copies."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.api.header_fields import HeaderField
from pipeline.errors import RequestError

MAX_PARTS = 20
MAX_HEAD_BYTES = 8 * 1024
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_LINE_REST = re.compile(rb"(--)?[ \t]*(?:\r?\n|$)")


@dataclass(frozen=True)
class Part:
    """A part of a form: a file if it has a file name, which may be empty, else a field."""

    name: str
    filename: str | None
    content_type: str
    data: memoryview

    @property
    def is_unfilled(self) -> bool:
        """True for the file input of a form in a browser in which no file is chosen."""
        return self.filename == "" and not self.data


def parse(body: bytes, boundary: str) -> list[Part]:
    """Return the parts of a form. Raises RequestError if the form is malformed, cut off or has too many parts."""
    parts: list[Part] = []
    for start, end in _spans(body, boundary):
        if len(parts) == MAX_PARTS:
            raise RequestError(f"malformed form: it has more than {MAX_PARTS} parts")
        parts.append(_part(body, start, end))
    return parts


def _spans(body: bytes, boundary: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each part, its header lines included."""
    try:
        delimiter = b"--" + boundary.encode("ascii")
    except UnicodeEncodeError:
        raise RequestError("malformed form: the boundary in Content-Type must be ASCII") from None
    start: int | None = None
    position, closed = 0, False
    while (found := body.find(delimiter, position)) >= 0:
        line = _LINE_REST.match(body, found + len(delimiter))
        position = found + len(delimiter)
        # Elsewhere than in a line of its own, the text is data.
        if not line or (found > 0 and body[found - 1] != 0x0A):
            continue
        if closed:
            raise RequestError("malformed form: there is another part after the closing boundary")
        if start is not None:
            yield start, max(start, found - (2 if body[found - 2 : found - 1] == b"\r" else 1))
        start, position, closed = line.end(), line.end(), line[1] is not None
    if not body:
        raise RequestError("malformed form: the body is empty: send a file")
    if start is None:
        raise RequestError(
            "malformed form: the boundary of Content-Type is not in the body. Let the HTTP library set Content-Type"
        )
    if not closed:
        raise RequestError("malformed form: it is cut off, because there is no closing boundary")


def _headers(lines: list[str]) -> dict[str, str]:
    """Parse header lines by lower-case name. Raises ValueError if a header is given twice."""
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name = name.strip().lower()
        if name in headers:
            raise ValueError(f"{name} is given twice")
        headers[name] = value.strip()
    return headers


def _part(body: bytes, start: int, end: int) -> Part:
    """Parse the header lines of a part."""
    head_end = _HEAD_END.search(body, start, min(end, start + MAX_HEAD_BYTES))
    if not head_end:
        raise RequestError(f"malformed form: a part has no end of its headers within {MAX_HEAD_BYTES:,} bytes")
    try:
        lines = re.sub(r"\r?\n[ \t]+", " ", body[start : head_end.start()].decode()).split("\n")
        headers = _headers(lines)
        disposition = HeaderField.parse(headers.get("content-disposition", ""))
        name, filename = disposition.text("name"), disposition.text("filename")
        content_type = HeaderField.parse(headers.get("content-type", "")).value
    except ValueError as error:
        raise RequestError(f"malformed form: the headers of a part: {error}") from None
    if disposition.value != "form-data" or name is None:
        raise RequestError('malformed form: each part needs Content-Disposition: form-data; name="…"')
    if content_type.startswith("multipart/"):
        raise RequestError(f"{name!r} is a form within the form: send the file itself as a part")
    encoding = headers.get("content-transfer-encoding", "binary").lower()
    if encoding not in ("binary", "8bit", "7bit"):
        raise RequestError(f"{name!r} has Content-Transfer-Encoding {encoding[:40]!r}: send the bytes as they are")
    return Part(name, filename, content_type, memoryview(body)[head_end.end() : end])
