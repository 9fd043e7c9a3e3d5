"""A plan and a run, as they are stored and shown."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from pipeline.runs.estimates import Estimate
from pipeline.runs.selection import Reason, Selection

RunState = Literal["working", "done", "cancelled", "stopped"]
_NEWEST_FIRST = str.maketrans("0123456789", "9876543210")


def now() -> datetime:
    """The time, to the millisecond."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def is_id(text: str) -> bool:
    """Whether a plan or a run can be called that, so that it can be looked up."""
    return re.fullmatch(r"[A-Za-z0-9-]{1,59}", text) is not None


def key_of(run_id: str) -> str:
    """The key of a plan or a run in its table: the newest comes first."""
    return run_id.translate(_NEWEST_FIRST)


class _Stored(BaseModel):
    model_config = ConfigDict(extra="ignore")

    @classmethod
    def read(cls, content: dict[str, Any]) -> Self:
        """From what was stored."""
        return cls.model_validate(content)

    def written(self) -> dict[str, Any]:
        """As it is stored."""
        return self.model_dump(mode="json")


class Plan(_Stored):
    """What a run would do. Complete when `marker` is None; else planning goes on from there in another call.

    `sources` were looked at; `jobs` are due, for the `reasons` and of the `recipes` counted here; `bytes` are theirs.
    `at` and `candidates` are where planning stands, and the sample as it is so far; `forms` tell the recipes as they
    were when it was begun.
    """

    id: str
    selection: Selection
    created: datetime = Field(default_factory=now)
    marker: str | None = None
    sources: int = 0
    jobs: int = 0
    bytes: int = 0
    reasons: dict[Reason, int] = {}
    recipes: dict[str, int] = {}
    renditions: dict[str, int] = {}
    estimate: Estimate = Estimate()
    at: str = ""
    recipe_versions: dict[str, str] = {}
    candidates: list[tuple[str, Reason, str, int]] = []

    @property
    def complete(self) -> bool:
        """Whether every source has been looked at."""
        return self.marker is None

    @property
    def last_rank(self) -> str:
        """The rank up to which jobs belong to the sample; empty when it is none."""
        return max((candidate[0] for candidate in self.candidates), default="") if self.selection.sample else ""

    def as_json(self) -> dict[str, Any]:
        """For people and programs."""
        shown = self.model_dump(mode="json", exclude={"at", "candidates", "forms", "renditions"})
        return {**shown, "complete": self.complete}


class Progress(BaseModel):
    """How far a run is. `left` are jobs that were found and have not ended."""

    model_config = ConfigDict(frozen=True)

    done: int = 0
    skipped: int = 0
    failed: int = 0
    left: int = 0

    @classmethod
    def of(cls, letters: Counter[str]) -> Self:
        """From the letters of batches."""
        return cls(done=letters["d"], skipped=letters["s"], failed=letters["f"], left=letters["."])

    def plus(self, other: Progress) -> Progress:
        """Together."""
        return Progress(
            done=self.done + other.done,
            skipped=self.skipped + other.skipped,
            failed=self.failed + other.failed,
            left=self.left + other.left,
        )

    @property
    def total(self) -> int:
        """All jobs that were found."""
        return self.done + self.skipped + self.failed + self.left


class Run(_Stored):
    """A run. `found` jobs are in batches; `listed` when there are no more to be found.

    `most` is how many it may find before it stops, `why` the reason why it has stopped. `settled` are the counts of
    all batches up to `settled_to`, in which nothing is left. `forms` are its recipes as they were when it was begun.
    """

    id: str
    selection: Selection
    state: RunState = "working"
    plan: str | None = None
    scheduled: bool = False
    expected: int | None = None
    most: int
    last_rank: str = ""
    created: datetime = Field(default_factory=now)
    finished: datetime | None = None
    why: str = ""
    sources: int = 0
    found: int = 0
    pages: int = 0
    listed: bool = False
    at: str = ""
    recipe_versions: dict[str, str] = {}
    settled: Progress = Progress()
    settled_to: str = ""
    progress: Progress = Progress()

    @property
    def over(self) -> bool:
        """Whether nothing more will happen, unless somebody resumes it."""
        return self.state != "working"

    def as_json(self) -> dict[str, Any]:
        """For people and programs."""
        hidden = {"at", "forms", "pages", "settled", "settled_to", "last_rank"}
        return self.model_dump(mode="json", exclude=hidden)
