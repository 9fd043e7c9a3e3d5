"""Facts of a source that a job's row records, to tell a change of its content from a change of its ETag alone."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceFacts:
    """Facts of the version of a source that a job has processed.

    Attributes:
        size: The size in bytes.
        sha256: The SHA-256 of the bytes that were sent to the session, hexadecimal.
        content_md5: The Content-MD5 that the blob declares, hexadecimal. Its writer may set it to any value.
        metadata: The metadata and index tags that the recipe uses (see `pipeline.jobs.source_metadata`).
    """

    size: int = 0
    sha256: str = ""
    content_md5: str = ""
    metadata: str = ""

    def differ(self, size: int, content_md5: str, metadata: str) -> bool:
        """Return True if a source with these properties has certainly changed, also for the recipe.

        False is a hint only: Content-MD5 may be missing or forged, and equal sizes are common.
        """
        declared = {self.content_md5, content_md5} - {""}
        return self.size != size or self.metadata != metadata or len(declared) == 2

    def columns(self) -> dict[str, str]:
        """Return the text columns of the ledger that planning reads. The size has the column `source_size`."""
        return {
            "content_md5": self.content_md5,
            "source_metadata": self.metadata,
        }
