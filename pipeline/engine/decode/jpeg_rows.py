"""The first rows of a JPEG, without decoding the rest.

A sequential JPEG holds its rows in order, and its header says how many there are. When the header says fewer, a decoder
stops after those and passes over what follows. Nothing else changes: the rows are decoded from the same bytes. This is
done only for files that are whole (they end with the end marker), so that a file that was cut short is still found out.
"""

from __future__ import annotations

MARGIN_ROWS = 48
"""Rows decoded beyond those that are needed: color is smoothed across blocks, of at most 32 rows."""

MAX_ROW_FRACTION = 0.8
"""Only when less than this part of the rows is needed is the trouble worth it."""

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Larger files are not read into memory for this."""

_SEQUENTIAL = (0xC0, 0xC1)
_OTHER_FRAMES = (0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)


def truncate_rows(body: bytes, rows: int) -> bytes | None:
    """A JPEG of which a decoder reads only the first `rows` rows (and a few more); None when it cannot be had safely.

    Markers are those of ITU-T T.81, table B.1; the frame header is B.2.2, the scan header B.2.3.
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
    """Where the frame header starts, when the file has a single sequential frame, whose first scan has all colors."""
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
