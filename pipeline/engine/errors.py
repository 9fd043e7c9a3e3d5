"""Why a session made nothing of a source: the kinds of failure, and the exception that carries one.

A kind is about the `source` (another recipe would not help), about the `recipe` (another source might), or about the
`session` (another session might). The host turns them into its own errors by this table.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class FailureKind(NamedTuple):
    """What a failure is about, and what it means in one line."""

    about: Literal["source", "recipe", "session"]
    meaning: str


KINDS: dict[str, FailureKind] = {
    "empty_source": FailureKind("source", "the source has no bytes"),
    "not_an_image": FailureKind("source", "the first bytes are those of no image format that is known here"),
    "format_not_allowed": FailureKind("source", "a known file format that is not on the allow-list"),
    "damaged_image": FailureKind("source", "the image is cut short or broken inside"),
    "too_many_pixels": FailureKind("source", "width × height × frames is over the limit"),
    "too_many_frames": FailureKind("source", "an animation or a document with more frames or pages than the limit"),
    "animation_rejected": FailureKind("source", "an animation, and the recipe takes none"),
    "crop_outside": FailureKind("recipe", "the crop box does not lie inside the image"),
    "frame_missing": FailureKind("recipe", "the frame or page that the recipe picks is not there"),
    "unsupported_here": FailureKind(
        "recipe", "the Pillow of this session cannot read or write a format that is needed"
    ),
    "rendition_too_large": FailureKind("recipe", "a rendition would be over the limit of pixels or bytes"),
    "max_bytes_impossible": FailureKind("recipe", "no quality makes the rendition small enough"),
    "asset_missing": FailureKind("recipe", "a picture or font that the recipe names is not there"),
    "asset_unusable": FailureKind("recipe", "a picture or font that the recipe names cannot be read"),
    "transform_failed": FailureKind("recipe", "a transform broke on this image"),
    "code_failed": FailureKind("recipe", "the recipe's own code raised, or did not return an image"),
    "encode_failed": FailureKind("recipe", "the encoder refused the image, or its output does not read back"),
    "bad_job": FailureKind("recipe", "the job document does not fit the engine in the session"),
    "out_of_memory": FailureKind("session", "the session ran out of memory"),
    "session_tainted": FailureKind("session", "something is in the session that no job of ours has put there"),
    "source_missing": FailureKind("session", "the source file is not in the session"),
    "engine_failed": FailureKind("session", "the engine broke in a way that nobody foresaw: a bug"),
}


class EngineError(Exception):
    """The engine's one exception: a `kind` out of KINDS, and a sentence that says what to change."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
