"""C2PA: read the label of AI-generated content out of a manifest store (C2PA specification 2.2, 11 and 18).

The signature is not checked: a session has no list of trusted signers, and labels in XMP have no signature at all.
"""

from __future__ import annotations

from ..containers.boxes import walk_boxes

MAX_LABELS = 20

_KEY = b"digitalSourceType"

_MADE_BY_MODEL = "trainedalgorithmic"
"""Part of the values for images that a trained model made, in whole or in part."""


def label_of_manifest(store: bytes) -> str:
    """Return the digitalSourceType of the active manifest, which is the last one of the store; empty when it has none.

    Earlier manifests belong to the ingredients. Each action of a manifest may have a value. The first value that says
    that a trained model took part counts, otherwise the last value.
    """
    found = walk_boxes(memoryview(store), 8, cut=True) if store[4:8] == b"jumb" else ()
    manifests = [box for box in found if box.name == b"jumb"]
    labels: list[str] = []
    at, active = 0, store[manifests[-1].start : manifests[-1].end] if manifests else b""
    while (at := active.find(_KEY, at)) >= 0 and len(labels) < MAX_LABELS:
        at += len(_KEY)
        if label := _text(active[at : at + 300]):
            labels.append(label)
    made_by_model = (label for label in labels if _MADE_BY_MODEL in label.lower())
    return next(made_by_model, labels[-1] if labels else "")


def _text(data: bytes) -> str:
    """Read a text in CBOR of at most 255 bytes (RFC 8949, 3.1); empty when the data is no such text."""
    if data[:1] == b"\x78":
        start, length = 2, data[1] if len(data) > 1 else 0
    else:
        start, length = 1, data[0] - 0x60 if data and 0x60 <= data[0] <= 0x77 else 0
    text = data[start : start + length]
    return text.decode("ascii", "replace") if len(text) == length else ""
