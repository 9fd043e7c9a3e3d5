"""Mark of a rendition: the blob metadata that name its job and the versions of its source and recipe.

The mark guards against loops, decides conditional commits, and lets the ledger be rebuilt from the renditions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

JOB_METADATA_KEY: Final = "pipeline_job"
GENERATION_METADATA_KEY: Final = "pipeline_generation"
# The other fields of a mark, by their metadata keys.
_TEXTS: Final = {
    "pipeline_recipe_version": "recipe_version",
    "pipeline_source_etag": "source_etag",
    "pipeline_source_sha256": "source_sha256",
    "pipeline_source_format": "source_format",
    "pipeline_source_metadata": "source_metadata",
    "pipeline_rendition": "rendition",
    "pipeline_format": "format",
    "sha256": "sha256",
}
_NUMBERS: Final = {
    GENERATION_METADATA_KEY: "generation",
    "pipeline_source_size": "source_size",
    "pipeline_decoder": "decoder_revision",
    "pipeline_renditions": "renditions",
    "pipeline_width": "width",
    "pipeline_height": "height",
    "pipeline_deployment": "deployment",
}
MARK_PREFIX: Final = "pipeline_"


@dataclass(frozen=True)
class RenditionMark:
    """The mark of a rendition.

    Attributes:
        job: The id of the job.
        generation: The generation of the job's claim: the fencing token. A higher generation wins.
        recipe_version: The hash of the recipe.
        source_etag: The ETag of the source.
        source_size: The size of the source in bytes.
        source_sha256: The SHA-256 of the source's bytes, hexadecimal.
        rendition: The name of the rendition.
        renditions: The number of renditions of the job.
        source_format: The format of the source, by Pillow's name.
        source_metadata: A digest of the source's metadata and tags that the recipe uses.
        decoder_revision: The revision of the decoder of that format.
        format: The format of the rendition, as in recipes.
        sha256: The SHA-256 of the rendition's bytes, hexadecimal.
        width: The width of the rendition in pixels.
        height: The height of the rendition in pixels.
        deployment: The number of the newest deployment that has claimed the job.
    """

    job: str
    generation: int
    recipe_version: str = ""
    source_etag: str = ""
    source_size: int = 0
    source_sha256: str = ""
    rendition: str = ""
    renditions: int = 0
    source_format: str = ""
    source_metadata: str = ""
    decoder_revision: int = 0
    format: str = ""
    sha256: str = ""
    width: int = 0
    height: int = 0
    deployment: int = 0

    def metadata(self) -> dict[str, str]:
        """Return the metadata of the mark; an empty field has none, since storage refuses empty values."""
        fields = {JOB_METADATA_KEY: "job", **_NUMBERS, **_TEXTS}
        values = {key: str(getattr(self, field)) for key, field in fields.items() if getattr(self, field)}
        return {GENERATION_METADATA_KEY: "0", **values}

    @classmethod
    def of(cls, metadata: Mapping[str, str] | None) -> Self | None:
        """Return the mark in the metadata of a blob; None without one. A number that was edited by hand counts as 0."""
        metadata = metadata or {}
        if JOB_METADATA_KEY not in metadata:
            return None
        texts = {field: metadata.get(key, "") for key, field in _TEXTS.items()}
        numbers = {field: _number(metadata.get(key, "")) for key, field in _NUMBERS.items()}
        return cls(metadata[JOB_METADATA_KEY], **texts, **numbers)  # type: ignore[arg-type]  # by name


@dataclass(frozen=True)
class MarkedBlob:
    """A blob that a job of the pipeline has committed, with its mark and the time of its last write."""

    path: str
    etag: str
    size: int
    mark: RenditionMark
    modified: datetime

    @property
    def job(self) -> str:
        """The id of the job."""
        return self.mark.job


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0
