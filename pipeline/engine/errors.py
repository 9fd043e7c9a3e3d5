"""Failures of a session: their kinds, and the exception that carries one.

A kind concerns the `source` (another recipe would not help), the `recipe` (another source might work) or the `session`
(another session might work). The host maps kinds to its own errors by the table `KINDS`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class FailureKind(NamedTuple):
    """Describe a kind of failure: its subject and its meaning in one line."""

    about: Literal["source", "recipe", "session"]
    meaning: str


KINDS: dict[str, FailureKind] = {
    "empty_source": FailureKind("source", "the source has no bytes"),
    "not_an_image": FailureKind("source", "the file is not an image in a known format"),
    "format_not_allowed": FailureKind("source", "the file format is not allowed"),
    "unsupported_variant": FailureKind("source", "the engine cannot read this variant of the format"),
    "damaged_image": FailureKind("source", "the image is truncated or damaged"),
    "too_many_pixels": FailureKind("source", "width × height × frames exceeds the limit"),
    "too_many_frames": FailureKind("source", "the source has more frames or pages than the limit"),
    "animation_rejected": FailureKind("source", "the source is an animation, and the recipe rejects animations"),
    "crop_outside": FailureKind("recipe", "the crop box is not inside the image"),
    "frame_missing": FailureKind("recipe", "the source lacks the frame or page that the recipe selects"),
    "unsupported_here": FailureKind("recipe", "Pillow in this session cannot read or write a required format"),
    "rendition_too_large": FailureKind("recipe", "a rendition exceeds the limit of pixels or bytes"),
    "max_bytes_impossible": FailureKind("recipe", "the rendition exceeds max_bytes at every quality"),
    "asset_missing": FailureKind("recipe", "an image or font that the recipe names does not exist"),
    "asset_unusable": FailureKind("recipe", "an image or font that the recipe names cannot be read"),
    "transform_failed": FailureKind("recipe", "a transform failed on this image"),
    "code_failed": FailureKind("recipe", "the recipe's code raised an exception or did not return an image"),
    "encode_failed": FailureKind("recipe", "the encoder failed, or its output cannot be read"),
    "bad_job": FailureKind("recipe", "the job document does not match the engine in the session"),
    "out_of_memory": FailureKind("session", "the session ran out of memory"),
    "session_tainted": FailureKind("session", "the session contains changes that no job of the pipeline made"),
    "source_missing": FailureKind("session", "the source file is missing in the session"),
    "engine_failed": FailureKind("session", "the engine failed unexpectedly: a bug"),
}


class EngineError(Exception):
    """Report why a session made no renditions: a `kind` from `KINDS`, and a message that says what to change."""

    def __init__(self, kind: str, message: str) -> None:
        """Create an error with a key of `KINDS` and a message for users."""
        super().__init__(message)
        self.kind = kind
        self.message = message
