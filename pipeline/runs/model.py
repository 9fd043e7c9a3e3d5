"""Data models of plans and runs, as stored and as shown."""

import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from pipeline.errors import Unreadable
from pipeline.runs.estimates import Estimate
from pipeline.runs.rounds import Night
from pipeline.runs.selection import FIRST_PLACE, Place, Reason, Selection
from pipeline.storage import StoredModel
from pipeline.telemetry import logger

log = logger(__name__)
RunState = Literal["working", "done", "cancelled", "stopped", "paused"]
HIDDEN_PLAN_FIELDS = (
    "at",
    "candidates",
    "recipe_versions",
    "renditions",
    "tenant_sessions",
    "first_tenant",
    "last_tenants",
)
_NEWEST_FIRST = str.maketrans("0123456789", "9876543210")


def now() -> datetime:
    """Return the current time in UTC, to the millisecond."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def is_id(text: str) -> bool:
    """Return True if the text has the form of an id of a plan or a run."""
    return re.fullmatch(r"[A-Za-z0-9-]{1,59}", text) is not None


def key_of(run_id: str) -> str:
    """Return the table key of a plan or a run: its id with mirrored digits, so that the newest comes first."""
    return run_id.translate(_NEWEST_FIRST)


class Plan(StoredModel):
    """The jobs that a run would execute, counted and priced, as stored in JSON.

    A plan is complete when `marker` is None; otherwise planning continues from the marker in another call. `sources`
    were compared; `jobs` are due, with `bytes` in total, counted by `reasons` and `recipes`. `written` counts the
    sources that were written after planning started: a run may find other jobs. `at` is the position in the listing,
    `candidates` the sample so far, and `recipe_versions` the versions when planning started, by the deployment of
    number `deployment`. `tenants` counts the tenants of jobs that need a session for their tenant, and
    `tenant_sessions` these sessions; `single_jobs` need a session each. `first_tenant` and `last_tenants` may be
    counted on other pages, too.
    """

    noun = "plan"
    unreadable_kind = "unreadable_plan"
    id: str
    selection: Selection
    created: datetime = Field(default_factory=now)
    marker: str | None = None
    sources: int = 0
    written: int = 0
    jobs: int = 0
    bytes: int = 0
    reasons: dict[Reason, int] = Field(default_factory=dict)
    recipes: dict[str, int] = Field(default_factory=dict)
    renditions: dict[str, int] = Field(default_factory=dict)
    estimate: Estimate = Estimate()
    at: str = ""
    recipe_versions: dict[str, str] = Field(default_factory=dict)
    candidates: list[tuple[str, Reason, str, int]] = Field(default_factory=list)
    deployment: int = 0
    tenants: int = 0
    tenant_sessions: int = 0
    single_jobs: int = 0
    first_tenant: str = ""
    last_tenants: list[str] = Field(default_factory=list)

    @property
    def complete(self) -> bool:
        """True if every source has been compared."""
        return self.marker is None

    @property
    def last_rank(self) -> str:
        """The rank of the last job of the sample; empty without a sample."""
        return max((candidate[0] for candidate in self.candidates), default="") if self.selection.sample else ""

    def as_json(self) -> dict[str, Any]:
        """Return the public fields as JSON."""
        shown = self.model_dump(mode="json", exclude={*HIDDEN_PLAN_FIELDS, "needs"})
        return {**shown, "complete": self.complete}


class Progress(BaseModel, frozen=True):
    """Progress of a run: the jobs by outcome, and the jobs `left`, which were found and have not ended."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    left: int = 0

    @classmethod
    def of(cls, letters: Counter[str]) -> Self:
        """Count the outcome letters of batches."""
        return cls(done=letters["d"], skipped=letters["s"], failed=letters["f"], left=letters["."])

    def plus(self, other: Self) -> Self:
        """Return the sum of both."""
        return type(self)(
            done=self.done + other.done,
            skipped=self.skipped + other.skipped,
            failed=self.failed + other.failed,
            left=self.left + other.left,
        )

    @property
    def total(self) -> int:
        """The number of all jobs found."""
        return self.done + self.skipped + self.failed + self.left


class Run(StoredModel):
    """A bulk run, as stored in JSON.

    `found` jobs are in batches; `listed` is True when no more jobs are looked for. The run takes `most` jobs; if
    `more_due` is True, it has left others. `why` is the reason for that, or the reason for which the run stopped. `at`
    is the cursor of the next page, `after` the last job taken from it if the run has taken a part of the page only.
    A scheduled run has a `night`, and `cap` names the setting from which its `most` comes. `settled` counts the
    outcomes of all batches up to `settled_to`, in which no job is left. `recipe_versions` are the versions with which
    the run started, or was resumed, by the deployment of number `deployment`. `estimate` is that of the expected jobs,
    or of `most` jobs, and `max_cost` the cap of the request. A run in the state `paused` has reached a cap, `paused`
    names its kind, and a user resumes it. `unreadable` is not stored.
    """

    noun = "run"
    unreadable_kind = "unreadable_run"
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
    more_due: bool = False
    at: str = ""
    after: Place = FIRST_PLACE
    night: Night | None = None
    cap: str = ""
    recipe_versions: dict[str, str] = Field(default_factory=dict)
    settled: Progress = Progress()
    settled_to: str = ""
    progress: Progress = Progress()
    deployment: int = 0
    estimate: Estimate = Estimate()
    max_cost: float | None = None
    paused: Literal["", "cost"] = ""
    unreadable: bool = Field(False, exclude=True)

    @classmethod
    def under_key(cls, key: str, content: dict[str, Any]) -> Self:
        """Return the run stored under a key. The key decides its id, since a person may have edited the other one.

        Raises Unreadable if this version of the app cannot read it.
        """
        return cls.read({**content, "id": key_of(key)})

    @classmethod
    def stored(cls, key: str, content: dict[str, Any]) -> Self:
        """Return a stored run to show. One that this version cannot read is shown as stopped, with the reason."""
        try:
            return cls.under_key(key, content)
        except Unreadable as error:
            log.warning("run %s: %s", key_of(key), error, extra={"event": "run.unreadable"})
            shown = cls(id=key_of(key), selection=Selection(), most=0, why=error.message, unreadable=True)
            return shown.model_copy(update={"state": "stopped"})

    @property
    def over(self) -> bool:
        """True if the run has ended or is paused; a user may still resume it."""
        return self.state != "working"

    def as_json(self) -> dict[str, Any]:
        """Return the public fields as JSON."""
        hidden = {
            "at",
            "after",
            "night",
            "cap",
            "recipe_versions",
            "pages",
            "settled",
            "settled_to",
            "last_rank",
            "estimate",
        }
        return self.model_dump(mode="json", exclude=hidden | {"needs"})
