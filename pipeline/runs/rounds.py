"""Rounds of scheduled runs: how reasons share the cap of a night, and where the next night continues.

A night consists of passes over the names of all sources. The first pass compares every source, counts all due jobs, and
takes those that an event or a message should have started. The other reasons share the rest of the cap. Each group of
reasons has a round position, at which its next pass continues, so that no source waits behind the same earlier names
every night.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from pydantic import BaseModel

from pipeline.runs.selection import FIRST_PLACE, Due, DuePage, Place, Reason

# Reasons of jobs that an event or a message should have started.
MISSED_REASONS: Final[tuple[Reason, ...]] = ("new", "changed", "unfinished")
MISSED = "missed"
# This reason costs a storage request per rendition, so the first pass does not count it.
UNCOUNTED: Final[Reason] = "missing"
# The event of a source written more recently may still be on its way.
EVENT_GRACE = timedelta(minutes=15)
# A tenth of the cap stays for the other reasons, even if the first pass could use all of it.
RESERVED_PART = 10
# A round that takes more nights than this is reported.
MAX_ROUND_NIGHTS = 7
# A longer cursor is not kept: the pass then starts at the first page, and takes no job before its round position.
MAX_CURSOR_CHARACTERS = 1000


def group_of(reason: Reason) -> str:
    """Return the reason group of a reason: the missed jobs form one group, each other reason has its own."""
    return MISSED if reason in MISSED_REASONS else reason


def fair_share(room: int, wanted: Sequence[int]) -> int:
    """Return the share of the first of several claimants: none gets more than it wants, the others share equally."""
    rest, count = room, len(wanted)
    for number in sorted(wanted):
        if number * count > rest:
            return min(wanted[0], -(-rest // count))
        rest, count = rest - number, count - 1
    return wanted[0]


class Round(BaseModel, frozen=True):
    """The round of a reason group.

    `after` is its round position: the last job taken. `nights` counts the scheduled runs of the round so far. `served`
    is the number of the last night that took jobs of the group. `began`
    is the position at the beginning of the night. A pass that reaches the last name is `wrapped`: it starts a new round
    at the first name, and ends at `began`. Then the night has seen all names, and the round is `complete`.
    """

    after: Place = FIRST_PLACE
    nights: int = 0
    served: int = 0
    began: Place = FIRST_PLACE
    wrapped: bool = False
    complete: bool = False

    def wants(self, place: Place) -> bool:
        """Return True if the pass has not seen this place tonight."""
        return self.after < place and (not self.wrapped or place <= self.began)

    def at_last_name(self) -> Self:
        """Return the round after the last name: wrapped, or complete."""
        if self.wrapped or self.began == FIRST_PLACE:
            return self.model_copy(update={"complete": True})
        return self.model_copy(update={"wrapped": True, "after": FIRST_PLACE, "nights": 0})


class Night(BaseModel, frozen=True):
    """The passes of a scheduled run, as stored with it after each page.

    `passes` are the reason groups of the passes to come; the first one is under way, and ends when the run has found
    `limit` jobs. The first pass of the night is `counting`. `share` is the cap of the missed jobs while other reasons
    wait, `most` the cap of the night. `due` counts by reason group the due jobs that are not taken; `starts` holds the
    cursor of the page with a group's round position.
    """

    number: int
    most: int
    share: int
    reasons: tuple[Reason, ...]
    passes: tuple[str, ...]
    limit: int
    counting: bool = True
    events_missed: int = 0
    rounds: dict[str, Round] = {}
    due: dict[str, int] = {}
    starts: dict[str, str] = {}

    @classmethod
    def begin(cls, number: int, most: int, reasons: Sequence[Reason], rounds: Mapping[str, Round]) -> Self:
        """Begin a night.

        Args:
            number: The number of the night. Nights count up.
            most: The cap on the jobs of the night.
            reasons: The reasons for which the night takes jobs.
            rounds: The rounds as the night before has left them, by reason group.
        """
        others = [group for group in dict.fromkeys(map(group_of, reasons)) if group != MISSED]
        stored = {group: rounds.get(group, Round()) for group in (MISSED, *others)}
        # What the uncounted reason leaves of its share goes to the reasons behind it. A small cap serves the reason
        # first that has waited longest.
        others.sort(key=lambda group: (group != UNCOUNTED, stored[group].served))
        # In the long run exactly a tenth, also of a cap below ten.
        reserved = (number + 1) * most // RESERVED_PART - number * most // RESERVED_PART if others else 0
        return cls(
            number=number,
            most=most,
            share=most - reserved,
            reasons=tuple(reasons),
            passes=(MISSED, MISSED, *others, MISSED),
            limit=most - reserved,
            rounds={
                group: Round(after=each.after, nights=each.nights, served=each.served, began=each.after)
                for group, each in stored.items()
            },
            due={UNCOUNTED: most} if UNCOUNTED in others else {},
        )

    @property
    def ended(self) -> bool:
        """True if no pass is left."""
        return not self.passes

    @property
    def pass_reasons(self) -> tuple[Reason, ...]:
        """The reasons for which the pass under way compares sources."""
        if self.counting:
            return tuple(reason for reason in self.reasons if reason != UNCOUNTED)
        return tuple(reason for reason in self.reasons if group_of(reason) == self.passes[0])

    @property
    def more_due(self) -> int:
        """The number of due jobs that the night leaves for the next ones."""
        return sum(self.due.values())

    @property
    def next_rounds(self) -> dict[str, Round]:
        """The rounds for the next night. A group of which nothing is due starts a new round."""
        return {
            group: Round(
                after=each.after if self.due.get(group) else FIRST_PLACE,
                nights=each.nights + 1 if self.due.get(group) else 0,
                served=each.served,
            )
            for group, each in self.rounds.items()
        }

    def wants(self, job: Due) -> bool:
        """Return True if the pass under way takes this job, cap permitting."""
        return group_of(job.reason) == self.passes[0] and self.rounds[self.passes[0]].wants(job.place)

    def after_page(self, page: DuePage, cursor: str, taken: Sequence[Place], found: int) -> tuple[Self, str]:
        """Return the night after a page, and the cursor of the page that follows.

        Args:
            page: The page.
            cursor: The cursor of the page.
            taken: The jobs that the run has taken from it.
            found: The number of jobs that the run has taken so far, those of the page included.
        """
        group, reached = self.passes[0], found >= self.limit
        rounds, starts = dict(self.rounds), dict(self.starts)
        if taken:
            rounds[group] = rounds[group].model_copy(update={"served": self.number})
        if reached and taken:
            rounds[group] = rounds[group].model_copy(update={"after": max(taken)})
            starts[group] = _kept(cursor)
        if self.counting:
            for each, its_round in rounds.items():
                if its_round.after != FIRST_PLACE and page.last >= its_round.after[0]:
                    starts.setdefault(each, _kept(cursor))
        beyond = rounds[group].wrapped and page.first > rounds[group].began[0]
        goes_on = bool(page.offset) and (self.counting or not (reached or beyond))
        if not (goes_on or reached):
            rounds[group] = rounds[group].at_last_name()
            starts.pop(group, None)
        night = self._with_counts(page, len(taken)).model_copy(update={"rounds": rounds, "starts": starts})
        if goes_on:
            return night, page.offset
        if reached or self.counting or rounds[group].complete:
            return night._next_pass(found)
        return night, ""

    def _with_counts(self, page: DuePage, taken: int) -> Self:
        """Return the night with the counts after a page."""
        group, due = self.passes[0], Counter(self.due)
        if not self.counting:
            return self.model_copy(update={"due": {**due, group: max(0, due[group] - taken)}})
        counts = Counter(group_of(job.reason) for job in page.jobs)
        # A page that is processed again no longer counts the jobs that have started since.
        counts[group] = max(0, counts[group] - taken)
        latest = datetime.now(UTC) - EVENT_GRACE
        missed = sum(job.reason in ("new", "changed") and job.source.modified < latest for job in page.jobs)
        return self.model_copy(update={"due": dict(due + counts), "events_missed": self.events_missed + missed})

    def _next_pass(self, found: int) -> tuple[Self, str]:
        """Return the night at the beginning of its next pass that may take a job, and the cursor of its first page."""
        due = {**self.due, **{group: 0 for group, each in self.rounds.items() if each.complete}}
        passes = self.passes[1:]
        while passes:
            room = self._room(passes, due, found)
            if room > 0:
                update = {"passes": passes, "limit": found + room, "counting": False, "due": due}
                return self.model_copy(update=update), self.starts.get(passes[0], "")
            passes = passes[1:]
        return self.model_copy(update={"passes": (), "counting": False, "due": due}), ""

    def _room(self, passes: Sequence[str], due: Mapping[str, int], found: int) -> int:
        """Return the number of jobs that the first of these passes may take."""
        if passes[0] == MISSED:
            return min((self.share if len(passes) > 1 else self.most) - found, due.get(MISSED, 0))
        return fair_share(self.most - found, [due.get(group, 0) for group in passes if group != MISSED])


def _kept(cursor: str) -> str:
    return cursor if len(cursor) <= MAX_CURSOR_CHARACTERS else ""
