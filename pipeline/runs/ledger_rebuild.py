"""Rebuild a lost or restored ledger from the marks of the renditions, so that nothing is rendered again.

Only complete sets are adopted: all renditions that one job has committed in one generation with the active recipe
version, at the paths of that recipe, of a source that has the same content. Everything else stays due.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pipeline.adhoc_recipes import RecipeCatalog
from pipeline.concurrency import map_concurrently
from pipeline.engine.encode.formats import FORMATS
from pipeline.errors import (
    ConfigError,
    JobSuperseded,
    RecipeError,
    SourceChanged,
    SourceError,
    StateConflict,
    StorageNotFound,
    TransientError,
    is_about_one_blob,
)
from pipeline.jobs.source_content import facts_of
from pipeline.jobs.source_metadata import metadata_digest, needs_tags, used_metadata
from pipeline.recipes import Recipe
from pipeline.runs.active_recipes import ActiveRecipes
from pipeline.runs.rendition_sets import RenditionSets
from pipeline.storage import (
    Entry,
    JobKey,
    Ledger,
    Listed,
    MarkedBlob,
    Renditions,
    SourceFacts,
    Sources,
    Version,
    fits_row,
    outputs_of,
    source_of,
    source_prefix,
)
from pipeline.telemetry import logger

log = logger(__name__)
CONCURRENCY = 16
MAX_WAITING = 200_000
# A table holds 63 bits, and claims count up.
MAX_GENERATION = 2**62
Outcome = Literal[
    "adopted", "present", "source_gone", "source_changed", "source_refused", "incomplete", "other_recipe", "foreign"
]
"""Outcome of a set: adopted; its job has this row or a newer one; its source is gone, or has other content, or storage
refuses to read it; renditions are missing. Outcome of a rendition: made with another recipe version, or with a mark
that does not fit."""


@dataclass
class RebuildProgress:
    """Progress of a rebuild: marked renditions read, sets by outcome, and sources whose content was compared.

    With more than one pass over the listing, a set may count again as present (in a dry run, as adopted).
    """

    renditions: int = 0
    compared: int = 0
    passes: int = 1
    outcomes: Counter[Outcome] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """Return the progress as JSON."""
        counts = {"renditions": self.renditions, "compared": self.compared, "passes": self.passes}
        names: tuple[Outcome, ...] = (
            "adopted", "present", "incomplete", "source_gone", "source_changed", "source_refused", "other_recipe",
            "foreign",
        )  # fmt: skip
        return {**counts, **{name: self.outcomes[name] for name in names}}


@dataclass(frozen=True)
class LedgerRebuild:
    """Adopt the renditions of the output container. It can be repeated, and end at any time."""

    ledger: Ledger
    sources: Sources
    renditions: Renditions
    catalog: RecipeCatalog
    active: ActiveRecipes
    max_waiting: int = MAX_WAITING

    async def run(
        self, prefix: str = "", *, dry_run: bool = False, report: Callable[[RebuildProgress], None] | None = None
    ) -> RebuildProgress:
        """Adopt the complete sets below a prefix of output paths; with `dry_run`, count them only.

        Raises:
            StateConflict: The recipes of this process are not those of the app: too few sets would be adopted.
        """
        mismatch = await self.active.mismatch(assume_stored=False)
        if mismatch:
            raise StateConflict(f"the ledger is not rebuilt: {mismatch}", kind="recipes_differ")
        deployment = await self.active.newest_deployment()
        progress, sets, marker = RebuildProgress(), RenditionSets(self.max_waiting), ""
        while True:
            page, marker = await self.renditions.marked(prefix, marker)
            complete = []
            for blob in page:
                found = await self._collect(blob, sets, progress)
                if found:
                    complete.append(found)

            async def adopt(found: list[MarkedBlob]) -> Outcome:
                return await self._outcome(found, progress, deployment, dry_run=dry_run)

            progress.outcomes.update(await map_concurrently(adopt, complete, CONCURRENCY))
            if report:
                report(progress)
            if not marker:
                incomplete, again = sets.next_pass()
                progress.outcomes["incomplete"] += incomplete
                if not again:
                    return progress
                progress.passes += 1

    async def _collect(
        self, blob: MarkedBlob, sets: RenditionSets, progress: RebuildProgress
    ) -> list[MarkedBlob] | None:
        """Add a rendition to its set, if its mark fits. Returns the set when it is complete."""
        wrong = await self._wrong(blob) if sets.is_first_pass or sets.holds(blob) else None
        if sets.is_first_pass:
            progress.renditions += 1
            if wrong:
                progress.outcomes[wrong] += 1
        return None if wrong else sets.add(blob)

    async def _wrong(self, blob: MarkedBlob) -> Outcome | None:
        """Return the reason why a rendition belongs to no set; None if it belongs to one."""
        mark = blob.mark
        try:
            key = JobKey.parse(mark.job)
            recipe = await self.catalog.get(key.recipe)
        except RecipeError:
            return "foreign"
        rendition = next((each for each in recipe.renditions if each.name == mark.rendition), None)
        if recipe.hash != mark.recipe_version:
            return "other_recipe"
        if rendition is None or mark.renditions != len(recipe.renditions):
            return "foreign"
        if mark.format not in FORMATS or not 0 < mark.generation < MAX_GENERATION:
            return "foreign"
        source = source_of(key)
        if source and blob.path != _path(recipe, blob, source[1]):
            return "foreign"
        return None

    async def _outcome(
        self, blobs: list[MarkedBlob], progress: RebuildProgress, deployment: int, *, dry_run: bool
    ) -> Outcome:
        """Adopt a complete set, unless storage refuses to read its source."""
        try:
            return await self._adopt(blobs, progress, deployment, dry_run=dry_run)
        except (SourceError, TransientError) as error:
            if not is_about_one_blob(error):
                raise
            log.warning("%s", error, extra={"event": "ledger.source_refused", "kind": error.kind})
            return "source_refused"

    async def _adopt(
        self, blobs: list[MarkedBlob], progress: RebuildProgress, deployment: int, *, dry_run: bool
    ) -> Outcome:
        """Write the row of a complete set, unless its job has a newer row or its source other content."""
        mark = blobs[0].mark
        key = JobKey.parse(mark.job)
        existing = await self.ledger.get(key)
        if existing and _is_newer(existing, mark.generation):
            return "present"
        recipe = await self.catalog.get(key.recipe)
        try:
            container, source = await self._source(key)
            if any(blob.path != _path(recipe, blob, source.name) for blob in blobs):
                return "foreign"
            facts = await self._facts(recipe, container, source, blobs, progress)
            if facts is None:
                return "source_changed"
        except SourceChanged:
            return "source_changed"
        except JobSuperseded:
            return "source_gone"
        except (ConfigError, StorageNotFound):
            return "foreign"  # a container of another pipeline
        records = [_record(blob) for blob in sorted(blobs, key=lambda blob: blob.mark.rendition)]
        if not fits_row(records):
            return "foreign"
        entry = Entry(
            key,
            container,
            source.name,
            state="done",
            version=Version(source.etag, recipe.hash),
            generation=mark.generation,
            since=max(blob.modified for blob in blobs),
            attempts=1,
            deployment=deployment,
            source_format=mark.source_format,
            decoder_revision=mark.decoder_revision,
            source=facts,
            outputs=outputs_of(records),
            bytes_in=source.size,
            bytes_out=sum(blob.size for blob in blobs),
            renditions=records,
        )
        if dry_run or await self.ledger.adopt(entry, existing):
            return "adopted"
        return "present"

    async def _source(self, key: JobKey) -> tuple[str, Listed]:
        """Return container and properties of a job's source, also if the key holds only the beginning of its name.

        Raises JobSuperseded if the source does not exist.
        """
        whole = source_of(key)
        if whole:
            return whole[0], await self.sources.stat(*whole)
        container, start = source_prefix(key)
        cursor = ""
        while True:
            page, cursor = await self.sources.page(container, start, cursor)
            for listed in page:
                if JobKey.of(key.recipe, container, listed.name) == key:
                    return container, listed
            if not cursor:
                raise JobSuperseded(f"no source in {container} belongs to the job {key.id}", kind="source_gone")

    async def _facts(
        self, recipe: Recipe, container: str, source: Listed, blobs: list[MarkedBlob], progress: RebuildProgress
    ) -> SourceFacts | None:
        """Return the facts of the source if all renditions were made of its present content and metadata, else None."""
        mark = blobs[0].mark
        versions = {(each.mark.source_etag, each.mark.source_size, each.mark.source_sha256) for each in blobs}
        if len(versions) > 1 or source.size != mark.source_size or not mark.source_sha256:
            return None
        is_same = source.etag == mark.source_etag
        if is_same and not needs_tags(recipe, source.metadata):
            used = used_metadata(recipe, source.metadata, {})
            return SourceFacts(source.size, mark.source_sha256, source.content_md5, used)
        opened = await self.sources.open(container, source.name)
        facts = await facts_of(opened, recipe)
        if opened.etag != source.etag or metadata_digest(facts.metadata) != mark.source_metadata:
            return None
        if not is_same:
            progress.compared += 1
            async for _ in opened.chunks():
                pass
            if opened.sha256 != mark.source_sha256:
                return None
        return replace(facts, sha256=mark.source_sha256)


def _is_newer(existing: Entry, generation: int) -> bool:
    """Return True if a row tells about this generation or a newer one, or if a worker holds its claim."""
    if existing.is_running or existing.generation > generation:
        return True
    return existing.generation == generation and existing.state not in ("queued", "running")


def _path(recipe: Recipe, blob: MarkedBlob, source_name: str) -> str:
    """Return the path at which the recipe puts this rendition of a source."""
    mark = blob.mark
    rendition = next(each for each in recipe.renditions if each.name == mark.rendition)
    facts: Any = {"format": mark.format, "sha256": mark.sha256, "width": mark.width, "height": mark.height}
    return recipe.output_path(rendition, source_name, facts)


def _record(blob: MarkedBlob) -> dict[str, Any]:
    """Return the record of a rendition, as a job writes it into its row."""
    mark = blob.mark
    return {
        "name": mark.rendition,
        "path": blob.path,
        "format": mark.format,
        "size": blob.size,
        "sha256": mark.sha256,
        "etag": blob.etag,
        "width": mark.width,
        "height": mark.height,
    }
