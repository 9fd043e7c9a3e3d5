"""Partial JPEG decoding: decode the first rows only.

A sequential JPEG stores its rows in order, and its header states their number. With a smaller number in the header, a
decoder stops after those rows and ignores the rest. The decoded rows stay the same. This applies only to complete files
(with the end marker), so that a truncated file is still detected.
"""

from __future__ import annotations

from .jpeg_scan import read_frame

MARGIN_ROWS = 48
"""Rows decoded beyond the needed ones: decoders smooth color across blocks of up to 32 rows."""

MAX_ROW_FRACTION = 0.8
"""Use partial decoding only when less than this fraction of the rows is needed."""

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Larger files are not read into memory for partial decoding."""

_SEQUENTIAL = (0xC0, 0xC1)


def truncate_rows(body: bytes, rows: int) -> bytes | None:
    """Return a JPEG with only the first `rows` rows and a margin; None when that is not safe or not useful.

    Markers are defined in ITU-T T.81, table B.1; the frame header in B.2.2.
    """
    frame = read_frame(memoryview(body))
    if frame is None or not body.rstrip(b"\0").endswith(b"\xff\xd9"):
        return None
    wanted = -(-(rows + MARGIN_ROWS) // 32) * 32
    single_scan = frame.marker in _SEQUENTIAL and len(frame.first_scan) == len(frame.components)
    if not single_scan or wanted >= frame.height * MAX_ROW_FRACTION:
        return None
    place = frame.offset + 5
    return b"".join((body[:place], wanted.to_bytes(2, "big"), body[place + 2 :]))
