"""Select the jobs of a plan or a run, and determine the reason why each one is due."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, BeforeValidator, Field

from pipeline.engine.revisions import DECODERS
from pipeline.errors import OutdatedDeployment
from pipeline.jobs.source_metadata import used_metadata
from pipeline.recipes import Recipe, Recipes
from pipeline.recipes.error_messages import did_you_mean
from pipeline.storage import (
    SUMMARY_COLUMNS,
    Entry,
    JobKey,
    Ledger,
    Listed,
    Renditions,
    Sources,
    is_older,
    row_key,
)

Reason = Literal[
    "new",
    "changed",
    "etag_changed",
    "recipe_changed",
    "unfinished",
    "service_failed",
    "failed",
    "missing",
    "done",
    "dismissed",
]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
DUE: Final[tuple[Reason, ...]] = ("new", "changed", "etag_changed", "recipe_changed", "unfinished", "service_failed")
# Groups of reasons. All failures include those of services.
REASON_ALIASES: Final[dict[str, tuple[Reason, ...]]] = {
    "due": DUE,
    "failed": ("failed", "service_failed"),
    "stale": ("changed", "etag_changed", "recipe_changed"),
    "all": (*DUE, "failed", "missing", "done"),
}
# A row that has been `queued` for longer than this has lost its message.
QUEUED_TIMEOUT = timedelta(days=1)
# After this many runs, a failure of a service is a failure like others: only a user retries it.
MAX_SERVICE_RUNS = 7
# A plan keeps its sample in one column of a table, which holds 32 Ki characters.
MAX_SAMPLE = 200
# About 300 years; it keeps date arithmetic within its range.
MAX_AGE_SECONDS = 10**10
Age = Annotated[float, Field(le=MAX_AGE_SECONDS, allow_inf_nan=False)]
# One listing of blobs returns at most 5,000 sources; smaller pages keep each step of a run short.
PAGE_SIZE = 1000
# The place of a job among all jobs: the name of its source, then the name of its recipe.
Place = tuple[str, str]
FIRST_PLACE: Final[Place] = ("", "")
# Blob names hold no control characters, and storage refuses to search for them.
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"


def _expand_reasons(value: Any) -> Any:  # noqa: ANN401 - any input of a user
    """Accept reasons as a list or as comma-separated words, and replace aliases such as `all`."""
    words = [word.strip() for word in value.split(",")] if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        return value
    for word in words:
        if word and word not in (*REASONS, *REASON_ALIASES):
            raise ValueError(f"there is no reason {word!r}; {did_you_mean(word, (*REASONS, *REASON_ALIASES))}")
    return tuple(dict.fromkeys(each for word in words if word for each in REASON_ALIASES.get(word, (word,))))


class Selection(BaseModel, frozen=True, extra="ignore"):
    """Filters for the jobs of a plan or a run: sources, recipes and reasons. A stored one may have unknown fields.

    Reasons: `new` (never done), `changed` (the source, or its metadata that the recipe uses, have changed),
    `etag_changed` (the source was written, but its size and Content-MD5 are the same: its content is compared),
    `recipe_changed` (ended with another recipe version, or with an older decoder of the source's format), `unfinished`
    (started, and no worker holds the claim), `service_failed` (failed because a service did for too long), `failed`
    (all failures), `missing` (done, but a rendition has been deleted), `done` (done and up to date), `dismissed`. Ages
    are in seconds since the last write of the source. A recipe without match rules applies to all sources if the
    selection names it.
    """

    prefix: str = Field("", max_length=1024, pattern=PRINTABLE, description="Only sources whose names start with this.")
    recipes: tuple[str, ...] = Field((), max_length=100, description="Only these recipes; all when empty.")
    reasons: Annotated[tuple[Reason, ...], BeforeValidator(_expand_reasons)] = Field(
        DUE,
        min_length=1,
        description="Only jobs with one of these reasons; `due`, `stale` and `all` are groups of reasons.",
    )
    min_age: Age | None = Field(None, ge=0, description="Only sources written at least this many seconds ago.")
    max_age: Age | None = Field(None, gt=0, description="Only sources written at most this many seconds ago.")
    sample: int | None = Field(
        None, ge=1, le=MAX_SAMPLE, description="Only this many jobs, spread evenly over all selected jobs."
    )


@dataclass(frozen=True)
class Due:
    """A due job and its reason. `entry` is its row in the ledger, or None."""

    recipe: Recipe
    source: Listed
    reason: Reason
    entry: Entry | None

    @property
    def place(self) -> Place:
        """The job's place: the name of its source, then the name of its recipe."""
        return self.source.name, self.recipe.name

    @property
    def rank(self) -> str:
        """The job's position in a pseudorandom order of all jobs: a sample consists of the first ones."""
        return hashlib.sha256(f"{self.recipe.name}/{self.source.name}".encode()).hexdigest()[:12]


@dataclass(frozen=True)
class DuePage:
    """The due jobs of one page of sources, whose names reach from `first` to `last`.

    `offset` continues the listing; it is empty after the last page. `written` are the times at which the sources were
    written. The page `is_ordered` if the names come in the order of their characters.
    """

    jobs: list[Due]
    sources: int
    offset: str
    first: str = ""
    last: str = ""
    written: tuple[datetime, ...] = ()
    is_ordered: bool = True

    def written_since(self, moment: datetime) -> int:
        """Return the number of the page's sources that were written after a moment, which is exact to a millisecond."""
        return sum(each - moment > timedelta(milliseconds=1) for each in self.written)


@dataclass(frozen=True)
class JobFinder:
    """Find due jobs by comparing a listing of the sources with the ledger."""

    input_container: str
    recipes: Recipes
    ledger: Ledger
    sources: Sources
    renditions: Renditions

    async def page(self, selection: Selection, offset: str, start: str = "", end: str = "") -> DuePage:
        """Return the selected jobs of the next page of sources, and compare them with the ledger.

        Args:
            selection: The jobs.
            offset: The `offset` of the page before; empty for the first page.
            start: The first name at which the sources begin.
            end: The name before which the sources end; empty for all of them.
        """
        selected = self.selected_recipes(selection)
        tags = any(recipe.needs_focal_point for recipe in selected)
        found, following = await self.sources.page(
            self.input_container, selection.prefix, offset, PAGE_SIZE, tags=tags, start=start
        )
        listed = [one for one in found if one.name < end] if end else found
        following = following if len(listed) == len(found) else ""
        moment, jobs = datetime.now(UTC), list[Due]()
        for recipe in selected:
            matching = [one for one in listed if _matches(recipe, one, selection) and _has_age(one, selection, moment)]
            jobs += await self._of_recipe(selection, recipe, matching, moment)
        first, last = (listed[0].name, listed[-1].name) if listed else ("", "")
        is_ordered = all(one.name < other.name for one, other in pairwise(found))
        return DuePage(jobs, len(listed), following, first, last, tuple(one.modified for one in listed), is_ordered)

    async def first_name(self, prefix: str, start: str) -> str:
        """Return the name of the first blob below a prefix at or behind `start`; empty if there is none."""
        return await self.sources.first_name(self.input_container, prefix, start)

    def selected_recipes(self, selection: Selection) -> Sequence[Recipe]:
        """Return the recipes of a selection. Raises RecipeError if one is unknown."""
        return [self.recipes.get(name) for name in selection.recipes] or list(self.recipes)

    def recipe_versions(self, selection: Selection) -> dict[str, str]:
        """Return the recipe versions of a selection, by recipe name (see `version_id`).

        Raises RecipeError if a recipe is unknown.
        """
        return {recipe.name: version_id(recipe) for recipe in self.selected_recipes(selection)}

    def version_mismatch(self, selection: Selection, planned: dict[str, str], deployment: int = 0) -> str:
        """Return the reason why this process cannot continue with planned recipe versions; empty if it can.

        Its recipes may be older or newer than those of the planning process: it started before the file changed, or a
        deployment is about to replace it. Raises OutdatedDeployment if the versions differ, and those of `deployment`
        are newer.
        """
        selected = [recipe for recipe in self.recipes if not selection.recipes or recipe.name in selection.recipes]
        active = {recipe.name: version_id(recipe) for recipe in selected}
        different = sorted(name for name in planned.keys() | active.keys() if planned.get(name) != active.get(name))
        if not (planned and different):
            return ""
        if is_older(self.ledger.deployment, deployment):
            raise OutdatedDeployment(
                f"the newer deployment {deployment} of the app has another version of the recipe {different[0]} than "
                f"this process, of the deployment {self.ledger.deployment}: the newer one continues"
            )
        several = f" and {len(different) - 1} more" if len(different) > 1 else ""
        return f"the app has another version of the recipe {different[0]}{several} than planned: deploy or restart it"

    async def _of_recipe(
        self, selection: Selection, recipe: Recipe, matching: list[Listed], moment: datetime
    ) -> list[Due]:
        if not matching:
            return []
        keys = {row_key(self.input_container, one.name): one for one in matching}
        rows = await self.ledger.rows(recipe.name, keys, SUMMARY_COLUMNS)
        jobs = []
        for key, source in keys.items():
            entry = rows.get(key)
            if entry and entry.is_of_newer(self.ledger.deployment, recipe.hash):
                continue  # its own deployment decides what is due
            reason = reason_for(entry, source, recipe, moment)
            if reason == "done" and "missing" in selection.reasons and "done" not in selection.reasons:
                reason = "missing" if await self._lacks_rendition(JobKey(recipe.name, key)) else "done"
            if reason in selection.reasons:
                jobs.append(Due(recipe, source, reason, entry))
        return jobs

    async def _lacks_rendition(self, key: JobKey) -> bool:
        """Return True if a rendition that the job's row lists no longer exists."""
        entry = await self.ledger.get(key)
        return entry is not None and not await self.renditions.exist([one["path"] for one in entry.renditions])


def version_id(recipe: Recipe) -> str:
    """Identify a recipe version and the decoders. Decoder revisions only grow, so their sum identifies them all."""
    return f"{recipe.hash[:16]}.{sum(DECODERS.values())}"


def reason_for(entry: Entry | None, source: Listed, recipe: Recipe, moment: datetime) -> Reason | None:
    """Return the reason why a job is due; None if a worker or a queued message takes care of it."""
    if entry is None:
        return "new"
    if entry.state == "running" and entry.expires > moment:
        return None
    if entry.state == "queued" and moment - entry.since < QUEUED_TIMEOUT:
        return None
    outdated = entry.version.recipe_hash != recipe.hash or entry.decoder_outdated
    if _has_changed(entry, source, recipe):
        return "changed"
    if entry.state in ("done", "dismissed") and not outdated and entry.version.etag != source.etag:
        return "etag_changed"
    if entry.state == "dismissed":
        return "dismissed"
    if outdated:
        return "recipe_changed"
    if entry.state == "failed":
        retried = entry.error_service and entry.service_runs < MAX_SERVICE_RUNS
        return "service_failed" if retried else "failed"
    if entry.state == "done":
        return "done"
    return "unfinished"


def _has_changed(entry: Entry, source: Listed, recipe: Recipe) -> bool:
    """Return True unless the content of the source is probably the same as in the job, and the metadata in use are.

    Only for a job that is up to date this is checked before it is skipped (see `ContentComparison`), so that other
    jobs count as changed.
    """
    same_recipe = entry.version.recipe_hash == recipe.hash
    used = entry.source.metadata
    if same_recipe:
        used = used_metadata(recipe, source.metadata, source.tags, used)
    if entry.version.etag == source.etag:
        # A new index tag leaves the ETag alone.
        return entry.state == "done" and entry.source.size > 0 and entry.source.metadata != used
    if entry.state != "done" and not (entry.state == "dismissed" and same_recipe):
        return True
    return entry.source.differ(source.size, source.content_md5, used)


def _matches(recipe: Recipe, source: Listed, selection: Selection) -> bool:
    if not recipe.include:
        return recipe.name in selection.recipes
    return recipe.matches(source.name, size=source.size, content_type=source.content_type)


def _has_age(source: Listed, selection: Selection, moment: datetime) -> bool:
    age = (moment - source.modified.astimezone(UTC)).total_seconds()
    return (selection.min_age or 0) <= age <= (selection.max_age or age)
