"""Partial JPEG decoding: decode the first rows only.

A sequential JPEG stores its rows in order, and its header states their number. With a smaller number in the header, a
decoder stops after those rows and ignores the rest. The decoded rows stay the same. This applies only to complete files
(with the end marker), so that a truncated file is still detected.
"""

from __future__ import annotations

MARGIN_ROWS = 48
"""Rows decoded beyond the needed ones: decoders smooth color across blocks of up to 32 rows."""

MAX_ROW_FRACTION = 0.8
"""Use partial decoding only when less than this fraction of the rows is needed."""

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Larger files are not read into memory for partial decoding."""

_SEQUENTIAL = (0xC0, 0xC1)
_OTHER_FRAMES = (0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)


def truncate_rows(body: bytes, rows: int) -> bytes | None:
    """Return a JPEG with only the first `rows` rows and a margin; None when that is not safe or not useful.

    Markers are defined in ITU-T T.81, table B.1; the frame header in B.2.2, the scan header in B.2.3.
    """
    frame = _frame(body)
    if frame is None or not body.rstrip(b"\0").endswith(b"\xff\xd9"):
        return None
    height = int.from_bytes(body[frame + 5 : frame + 7], "big")
    wanted = -(-(rows + MARGIN_ROWS) // 32) * 32
    if wanted >= height * MAX_ROW_FRACTION:
        return None
    return b"".join((body[: frame + 5], wanted.to_bytes(2, "big"), body[frame + 7 :]))


def _frame(body: bytes) -> int | None:
    """Find the offset of the frame header, in a file with one sequential frame whose first scan has all components."""
    at, frame = 2, None
    while at + 4 <= len(body) and body[at] == 0xFF:
        marker, length = body[at + 1], int.from_bytes(body[at + 2 : at + 4], "big")
        if marker in _OTHER_FRAMES:
            return None
        if marker in _SEQUENTIAL:
            frame = at
        if marker == 0xDA:
            return frame if frame is not None and body[at + 4] == body[frame + 9] else None
        at += 2 + length
    return None
