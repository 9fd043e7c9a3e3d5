"""Which jobs a plan or a run is about, and why each of them is due."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from pipeline.engine.revisions import DECODERS
from pipeline.recipes import Recipe
from pipeline.recipes.error_messages import did_you_mean
from pipeline.services import Services
from pipeline.storage.blobs import Listed
from pipeline.storage.entry import Entry, Version
from pipeline.storage.keys import JobKey, row_key

Reason = Literal["new", "changed", "recipe_changed", "unfinished", "failed", "missing", "done", "dismissed"]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
DUE: Final[tuple[Reason, ...]] = ("new", "changed", "recipe_changed", "unfinished")
# Words for several reasons at once.
SEVERAL: Final[dict[str, tuple[Reason, ...]]] = {
    "due": DUE,
    "stale": ("changed", "recipe_changed"),
    "all": (*DUE, "failed", "missing", "done"),
}
# A row that says `queued` for longer than this has lost its message.
LOST_AFTER = timedelta(days=1)
# A plan keeps its sample in one column of a table, which holds 32 Ki characters.
LARGEST_SAMPLE = 200
# Seconds: some 300 years, which is for ever and yet a number that can be told.
LONGEST_AGE = 10**10
Age = Annotated[float, Field(le=LONGEST_AGE, allow_inf_nan=False)]
# No blob's name holds anything else, and storage refuses to look for it.
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"


def _spelled_out(value: Any) -> Any:  # noqa: ANN401 - what a user wrote
    """Reasons as a list, or as words with commas between them; `all` and the like stand for several."""
    words = [word.strip() for word in value.split(",")] if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        return value
    for word in words:
        if word and word not in (*REASONS, *SEVERAL):
            raise ValueError(f"there is no reason {word!r}; {did_you_mean(word, (*REASONS, *SEVERAL))}")
    return tuple(dict.fromkeys(each for word in words if word for each in SEVERAL.get(word, (word,))))


class Selection(BaseModel):
    """Which sources, which recipes, and jobs in which condition.

    Reasons: `new` (never done), `changed` (another version of the source is there), `recipe_changed` (ended with
    another recipe version or an older decoder), `unfinished` (begun, and nobody is on it), `failed`, `missing` (done,
    but a rendition is not there any more), `done` (done and up to date), `dismissed`. Ages are in seconds since the
    source was last written. A recipe that is for no source by itself is done for all of them when it is named.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prefix: str = Field("", max_length=1024, pattern=PRINTABLE, description="Only sources whose names start with this.")
    recipes: tuple[str, ...] = Field((), max_length=100, description="Only these recipes; all when empty.")
    reasons: Annotated[tuple[Reason, ...], BeforeValidator(_spelled_out)] = Field(
        DUE, min_length=1, description="Only jobs with one of these reasons; `due`, `stale` and `all` name several."
    )
    min_age: Age | None = Field(None, ge=0, description="Only sources written at least so many seconds ago.")
    max_age: Age | None = Field(None, gt=0, description="Only sources written at most so many seconds ago.")
    sample: int | None = Field(
        None, ge=1, le=LARGEST_SAMPLE, description="Only so many jobs, spread evenly over all that are selected."
    )


@dataclass(frozen=True)
class Due:
    """A job that is to be done, and why. `entry` is its row, if there is one."""

    recipe: Recipe
    source: Listed
    reason: Reason
    entry: Entry | None

    @property
    def rank(self) -> str:
        """Its place among all jobs in an order that has nothing to do with names: the sample are the first ones."""
        return hashlib.sha256(f"{self.recipe.name}/{self.source.name}".encode()).hexdigest()[:12]


async def due_jobs(services: Services, selection: Selection, page: list[Listed], now: datetime) -> list[Due]:
    """The selected jobs of a page of sources: one range read of the ledger for each recipe."""
    found = []
    for recipe in selected_recipes(services, selection):
        wanted = [one for one in page if _is_for(recipe, one, selection) and _has_age(one, selection, now)]
        found += await _of_recipe(services, selection, recipe, wanted, now)
    return found


def selected_recipes(services: Services, selection: Selection) -> Sequence[Recipe]:
    """The recipes of a selection. RecipeError when one is not known."""
    return [services.recipes.get(name) for name in selection.recipes] or list(services.recipes)


def recipe_versions(services: Services, selection: Selection) -> dict[str, str]:
    """The recipes of a selection, each with what tells its form from others. RecipeError as above."""
    return {recipe.name: _version(recipe) for recipe in selected_recipes(services, selection)}


def version_mismatch(services: Services, selection: Selection, meant: dict[str, str]) -> str:
    """Why this process cannot go on with what was meant by a selection; empty when it can.

    Its recipes may be older, or newer, than those of the process that planned: it was started before the file changed,
    or is still to be replaced by a deployment.
    """
    wanted = [recipe for recipe in services.recipes if not selection.recipes or recipe.name in selection.recipes]
    here = {recipe.name: _version(recipe) for recipe in wanted}
    other = sorted(name for name in meant.keys() | here.keys() if meant.get(name) != here.get(name))
    if not (meant and other):
        return ""
    several = f" and {len(other) - 1} more" if len(other) > 1 else ""
    return f"the app has another form of the recipe {other[0]}{several} than was meant: deploy or restart it"


def _version(recipe: Recipe) -> str:
    """Identify the recipe version and the decoders. Decoder revisions only grow, so their sum identifies them all."""
    return f"{recipe.hash[:16]}.{sum(DECODERS.values())}"


async def _of_recipe(
    services: Services, selection: Selection, recipe: Recipe, wanted: list[Listed], now: datetime
) -> list[Due]:
    if not wanted:
        return []
    container = services.settings.input_container
    keys = {row_key(container, one.name): one for one in wanted}
    # Tables compare the units of UTF-16.
    ordered = sorted(keys, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
    rows = {
        entry.key.row: entry async for entry in services.ledger.scan_summaries(recipe.name, ordered[0], ordered[-1])
    }
    found = []
    for key, one in keys.items():
        entry = rows.get(key)
        reason = reason_for(entry, Version(one.etag, recipe.hash), now)
        if reason == "done" and "missing" in selection.reasons and "done" not in selection.reasons:
            reason = "missing" if await _lacks(services, JobKey(recipe.name, key)) else "done"
        if reason in selection.reasons:
            found.append(Due(recipe, one, reason, entry))
    return found


def reason_for(entry: Entry | None, version: Version, now: datetime) -> Reason | None:
    """Why the job would be done; None when it is in good hands already."""
    if entry is None:
        return "new"
    if entry.state == "running" and entry.expires > now:
        return None
    if entry.state == "queued" and now - entry.since < LOST_AFTER:
        return None
    if entry.version.etag != version.etag:
        return "changed"
    if entry.state == "dismissed":
        return "dismissed"
    if entry.version.recipe_hash != version.recipe_hash or entry.decoder_outdated:
        return "recipe_changed"
    if entry.state in ("failed", "done"):
        return entry.state
    return "unfinished"


async def _lacks(services: Services, key: JobKey) -> bool:
    """Whether a rendition that the job has made is not there any more."""
    entry = await services.ledger.get(key)
    return entry is not None and not await services.renditions.are_there([one["path"] for one in entry.renditions])


def _is_for(recipe: Recipe, source: Listed, selection: Selection) -> bool:
    if not recipe.include:
        return recipe.name in selection.recipes
    return recipe.matches(source.name, size=source.size, content_type=source.content_type)


def _has_age(source: Listed, selection: Selection, now: datetime) -> bool:
    age = (now - source.modified.astimezone(UTC)).total_seconds()
    return (selection.min_age or 0) <= age <= (selection.max_age or age)
