"""Compare the content of a source with the content that a job has processed, when its ETag has changed."""

from dataclasses import dataclass, replace

from pipeline.jobs.source_metadata import needs_tags, used_metadata
from pipeline.recipes import Recipe
from pipeline.storage import Entry, Source, SourceFacts, Version
from pipeline.telemetry import logger

log = logger(__name__)


async def facts_of(source: Source, recipe: Recipe) -> SourceFacts:
    """Return the facts of a source for the ledger; without a SHA-256 if it has not been read to its end."""
    tags = await source.tags() if needs_tags(recipe, source.metadata) else {}
    used = used_metadata(recipe, source.metadata, tags)
    return SourceFacts(source.size, source.sha256, source.content_md5, used)


@dataclass(frozen=True)
class ContentComparison:
    """Compare a source with the row of an ended job of the recipe."""

    source: Source
    recipe: Recipe

    async def adopted(self, entry: Entry) -> Entry | None:
        """Return the row with the source's current ETag if nothing else has changed; None if the job is due.

        The source is read to its end: metadata, sizes and Content-MD5 can rule out equal content, but never prove it.
        A job that failed is due: a user who touches its source wants another attempt.

        Raises:
            SourceChanged: The source changed while it was read.
            JobSuperseded: The source is gone.
        """
        same_recipe = entry.version.recipe_hash == self.recipe.hash and not entry.decoder_outdated
        if entry.state not in ("done", "dismissed") or not same_recipe or not entry.source.sha256:
            return None
        facts = await facts_of(self.source, self.recipe)
        if entry.source.differ(facts.size, facts.content_md5, facts.metadata):
            return None
        async for _ in self.source.chunks():
            pass
        if self.source.sha256 != entry.source.sha256:
            return None
        log.info(
            "only the ETag of the source has changed: the renditions are up to date", extra={"event": "job.adopted"}
        )
        facts = replace(facts, sha256=entry.source.sha256)
        return replace(entry, version=Version(self.source.etag, self.recipe.hash), source=facts)
