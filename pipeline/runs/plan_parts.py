"""Parts of a plan: ranges of source names that several processes plan at the same time.

A plan begins with one part. A process that finds no free part divides one that another process works on: it lowers the
end of that part and takes the names behind it. Each part is a stored document, replaced after each page by optimistic
concurrency, so that no source is counted twice and none is left out, whenever a process ends. The documents are deleted
with those of the plans.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import BaseModel, Field

from pipeline.runs.model import Plan, key_of, now
from pipeline.runs.name_ranges import middle_name
from pipeline.runs.selection import JobFinder
from pipeline.storage import Document, RunStore, StoredModel

# More processes than this do not help: all of them read the same ledger.
MAX_PARTS = 64
# A part is free when its process has stored nothing for this long.
CLAIM_SECONDS = 60.0


def claim_end() -> float:
    """Return the end of a claim that begins or is renewed now, in seconds since 1970."""
    return now().timestamp() + CLAIM_SECONDS


class NameRange(BaseModel, frozen=True):
    """Source names from `start` to `end`, exclusive. An empty `end` is the end of all names."""

    start: str = ""
    end: str = ""


class PlanPart(StoredModel):
    """A part of a plan, as stored in JSON.

    `counts` is the plan of the sources in `names` that were compared so far; `last` is the name of the last one. The
    process `owner` works on the part until the time `until`, in seconds since 1970. `divided` are the ranges that other
    processes have taken from the part. It is not `divisible` if storage does not list its names in order, as accounts
    with a hierarchical namespace may do.
    """

    noun = "part of a plan"
    unreadable_kind = "unreadable_plan"
    names: NameRange = NameRange()
    counts: Plan
    last: str = ""
    done: bool = False
    owner: str = ""
    until: float = 0.0
    divided: list[NameRange] = Field(default_factory=list)
    divisible: bool = True

    @property
    def is_free(self) -> bool:
        """True if no process works on the part, and it is not done."""
        return not self.done and self.until < now().timestamp()

    @property
    def key(self) -> str:
        """The key of the part's document."""
        return f"{key_of(self.counts.id)}-{hashlib.sha256(self.names.start.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class StoredPart:
    """A part with its document."""

    part: PlanPart
    document: Document


@dataclass(frozen=True)
class PlanParts:
    """The stored parts of plans."""

    store: RunStore
    finder: JobFinder

    async def load(self, plan: Plan) -> list[StoredPart]:
        """Return the parts of a plan, the first one included if the plan has none yet."""
        start = f"{key_of(plan.id)}-"
        rows = await self.store.page("plan_part", MAX_PARTS + 1, start)
        documents = [document for key, document in rows if key.startswith(start)]
        stored = [StoredPart(PlanPart.read(document.content), document) for document in documents]
        known = {each.part.names.start for each in stored}
        # A process may have ended after it has divided a part, and before it has stored the new one.
        expected = [NameRange(), *(names for each in stored for names in each.part.divided)]
        missing = [names for names in expected if names.start not in known]
        created = [await self._create(plan, names) for names in missing]
        return [*stored, *(each for each in created if each)]

    async def save(self, stored: StoredPart, changed: PlanPart) -> StoredPart | None:
        """Replace a part; None if it has changed since it was read."""
        content = changed.model_dump(mode="json")
        document = await self.store.replace("plan_part", changed.key, stored.document, content)
        return StoredPart(changed, document) if document else None

    async def reload(self, stored: StoredPart) -> StoredPart | None:
        """Return a part as it is stored now; None if it has been deleted."""
        document = await self.store.get("plan_part", stored.part.key)
        return StoredPart(PlanPart.read(document.content), document) if document else None

    async def claim(self, parts: Sequence[StoredPart], owner: str) -> StoredPart | None:
        """Claim a free part for a process; None if there is none."""
        for stored in parts:
            if stored.part.is_free:
                changed = {"owner": owner, "until": claim_end()}
                if claimed := await self.save(stored, stored.part.model_copy(update=changed)):
                    return claimed
        return None

    async def divide(self, plan: Plan, parts: Sequence[StoredPart]) -> bool:
        """Divide a part that a process works on; False if that does not help. The new part is free."""
        if len(parts) >= MAX_PARTS:
            return False
        first_name = partial(self.finder.first_name, plan.selection.prefix)
        for stored in parts:
            part = stored.part
            if part.done or not part.last or not part.divisible:
                continue
            middle = await middle_name(first_name, part.last, part.names.end)
            if middle and await self._take(plan, stored, middle):
                return True
        return False

    async def _take(self, plan: Plan, stored: StoredPart, middle: str) -> bool:
        """Make a part of the names from `middle` on; False if the process that works there has reached them."""
        end = stored.part.names.end
        taken, current = NameRange(start=middle, end=end), stored
        while not current.part.done and current.part.last < middle and current.part.names.end == end:
            names = current.part.names.model_copy(update={"end": middle})
            changed = current.part.model_copy(update={"names": names, "divided": [*current.part.divided, taken]})
            if await self.save(current, changed):
                await self._create(plan, taken)
                return True
            reloaded = await self.reload(current)
            if reloaded is None:
                break
            current = reloaded
        return False

    async def _create(self, plan: Plan, names: NameRange) -> StoredPart | None:
        part = PlanPart(names=names, counts=plan.model_copy(update={"marker": plan.id}))
        content = part.model_dump(mode="json")
        document = await self.store.create("plan_part", part.key, content)
        return StoredPart(part, document) if document else None
