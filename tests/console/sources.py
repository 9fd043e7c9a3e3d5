"""Recipes and sources of the console's tests."""

from __future__ import annotations

from tests.images import image_bytes

RECIPES = """
recipes:
  web:
    description: For the shop window.
    match: {include: ["photos/**"]}
    transforms: [{crop: {aspect: "3:2", gravity: [focal, center]}}]
    renditions:
      large: {format: webp, quality: 80, transforms: [{resize: {width: 320}}]}
      thumb: {format: jpeg, transforms: [{resize: {width: 64, height: 64, mode: cover}}]}
  stamped:
    isolation: trusted
    match: {include: ["stamped/**"]}
    transforms: [{watermark: {image: logo.png}}]
    renditions:
      stamped: {format: png}
"""

IMG_TAG = "<img src=x onerror=alert(1)>"
HOSTILE_NAMES = {
    f"photos/{IMG_TAG}.jpg": IMG_TAG,
    "photos/photo\u202egpj.exe.jpg": "‹U+202E›",
    "photos/" + "x" * 1000 + ".jpg": "xxxxxxxxxxxxxxxxxxxx",
    "photos/a\"b'c&amp;{{7*7}}.jpg": "a\"b'c&amp;{{7*7}}",
    "photos/صورة.jpg": "صورة",
}
"""Names that attack a page, and the text that the page shows for each."""
SOURCES = {
    "photos/harbour.jpg": image_bytes(900, 600),
    "photos/beach.png": image_bytes(320, 480, "PNG"),
    "photos/broken.jpg": b"no image at all" * 40,
    "photos/cut.jpg": image_bytes(400, 300)[:4000],
    "stamped/poster.jpg": image_bytes(300, 200),
    **{name: image_bytes(120, 80, seed=number) for number, name in enumerate(HOSTILE_NAMES)},
}
