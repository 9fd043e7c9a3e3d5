"""Delete the renditions that a job has replaced by others at other paths, once it is done."""

from dataclasses import dataclass

from pipeline.errors import PipelineError
from pipeline.storage import Entry, Ledger, Renditions
from pipeline.telemetry import logger

log = logger(__name__)


@dataclass(frozen=True)
class ReplacedRenditions:
    """Deletion of replaced renditions, if the settings ask for it."""

    ledger: Ledger
    renditions: Renditions
    enabled: bool

    async def whole_row(self, known: Entry | None) -> Entry | None:
        """Return the row that a run knows in part, with its renditions; None if it has changed since."""
        if not (self.enabled and known):
            return known
        row = await self.ledger.get(known.key)
        return row if row and row.row_etag == known.row_etag else None

    async def delete(self, entry: Entry) -> None:
        """Delete what a done job has replaced; only blobs with the ETag of the earlier commit, so never newer ones.

        A failure is no failure of the job: `image-pipeline prune` lists what remains.
        """
        if not self.enabled or entry.state != "done":
            return
        for path, etag in entry.former.items():
            try:
                if await self.renditions.delete(path, etag):
                    log.info("deleted %s: replaced", path, extra={"event": "rendition.deleted"})
            except PipelineError as error:
                log.warning(
                    "the replaced rendition %s is not deleted: %s", path, error, extra={"event": "rendition.kept"}
                )
