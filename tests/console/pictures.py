"""What lies in the input container of the console's tests."""

from __future__ import annotations

from tests.images import picture

IMG = "<img src=x onerror=alert(1)>"
HOSTILE = {
    f"photos/{IMG}.jpg": IMG,
    "photos/photo\u202egpj.exe.jpg": "‹U+202E›",
    "photos/" + "x" * 1000 + ".jpg": "xxxxxxxxxxxxxxxxxxxx",
    "photos/a\"b'c&amp;{{7*7}}.jpg": "a\"b'c&amp;{{7*7}}",
    "photos/صورة.jpg": "صورة",
}
"""Names that nobody would choose, and what a page shows of them."""
SOURCES = {
    "photos/harbour.jpg": picture(900, 600),
    "photos/beach.png": picture(320, 480, "PNG"),
    "photos/broken.jpg": b"no image at all" * 40,
    "photos/cut.jpg": picture(400, 300)[:4000],
    "stamped/poster.jpg": picture(300, 200),
    **{name: picture(120, 80, seed=number) for number, name in enumerate(HOSTILE)},
}
