"""Model search of one slot that several processes compete for: the pipeline's code on leases that expire.

A call to the session pool takes at most the slot's lease margin, which exists for that; a call to storage takes any
time. Processes die anywhere and are suspended for any time. Storage refuses calls, loses responses, and applies calls
twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any
from unittest import mock

from pipeline.errors import PipelineError
from pipeline.pool import lease_keeper, rebalancing, recycler, scheduler, slot
from pipeline.pool.billing import BilledHours
from pipeline.pool.hours import UnlimitedHours
from pipeline.pool.requests import SlotRequest
from pipeline.pool.scheduler import SlotScheduler
from pipeline.pool.slot import LEASE_MARGIN_SECONDS, SlotState
from pipeline.settings import Settings
from pipeline.storage import leased_documents
from pipeline.storage.leased_documents import LeasedDocuments
from pipeline.testing.clients import NO_RESPONSE, Clients
from pipeline.testing.operations import apply
from pipeline.testing.store import Op, Response, Store
from tests.model.replay import History, Outcome, Replayer, World, world
from tests.model.search import Violation, changes, explored

LEASE, STEP, USES = 15, int(LEASE_MARGIN_SECONDS), 1
FREE = "free"
# Start of the model's clock. 0 would mean that a session has not started.
EPOCH = 1_000_000
NAME, DOCUMENT = "slots/000.json", "state/slots/000.json"
SETTINGS = Settings(pool_endpoint="http://127.0.0.1:1", slot_lease_duration=LEASE, pool_max_sessions=1)


class Pool:
    """Client of the pool that only records the use and the end of sessions."""

    def __init__(self, here: World) -> None:
        self._here = here

    async def use(self, identifier: str) -> None:
        """Use a session, which starts it if there is none."""
        await self._here.ask(("pool.use", identifier, self._here.name))

    async def end(self, identifier: str) -> None:
        """End a session."""
        await self._here.ask(("pool.end", identifier))


async def holder(here: World) -> None:
    """Process that acquires the slot, runs jobs with a heartbeat after each, and returns the slot."""
    account: Any = Clients(here.ask, here.token)
    pool: Any = Pool(here)
    scheduler = SlotScheduler(SETTINGS, LeasedDocuments(account, "state", "slots/", LEASE), pool)
    leases, recycler = scheduler.leases, scheduler.recycler
    with suppress(PipelineError):  # as `LeaseKeeper.acquire_more` does
        held = await leases.acquire(NAME)
        if held:
            await recycler.prepare(held)
    for one in list(leases.slots):
        for _ in range(USES):
            request = SlotRequest()
            if not one.can_start(request):
                break
            one.start_job(request)
            await one.pay(UnlimitedHours(), request, 0)
            try:
                one.session._check()
                since = EPOCH + here.clock
                await pool.use(one.identifier)
                one.mark_responded(since)
                await recycler.write_billed_hours(one)
            except PipelineError as error:
                one.taint(error.kind)
            one.end_job(request)
            await leases.heartbeat(one)
        if one in leases.slots:
            one.become(SlotState.RETURNING)
            await recycler._return(one)


@dataclass(frozen=True)
class Bounds:
    """Limits of a search: processes, seconds, crashes, and faults of storage."""

    processes: int = 2
    seconds: int = 20
    crashes: int = 1
    faults: int = 0


@dataclass(eq=False)
class Run:
    """Process and the responses that it received. `since` is the time of its last call."""

    name: str
    began: int
    heard: History
    outcome: Outcome
    since: int


@dataclass(frozen=True)
class State:
    """State of the model. `sessions` holds the existing sessions by identifier, with their users in order.

    `begun` counts all sessions that ever started.
    """

    store: Store
    left: Bounds
    started: int = 0
    runs: tuple[Run, ...] = ()
    sessions: tuple[tuple[str, tuple[str, ...]], ...] = ()
    begun: int = 0


@dataclass
class Search:
    """Search of all reachable states."""

    bounds: Bounds
    states: int = 0
    steps: int = 0
    takeovers: int = 0
    counted: int = 0
    _runs: dict[Any, Run] = field(default_factory=dict)
    _replayer: Replayer = field(default_factory=Replayer)

    def run(self) -> Search:
        """Run the search."""
        first = State(Store().written(DOCUMENT, b"{}"), self.bounds)
        with model_clock(), self._replayer:
            self.states, self.steps = explored(first, self._following, self._check)
        return self

    @property
    def runs(self) -> set[Run]:
        """The different processes that the search replayed."""
        return set(self._runs.values())

    def _following(self, state: State) -> Iterator[State]:
        clock = state.store.clock
        if state.left.seconds >= STEP and not any(_overdue(run, clock) for run in state.runs):
            yield _spent(replace(state, store=state.store.later(STEP)), seconds=STEP)
        if state.started < self.bounds.processes:
            begun = self._at(f"p{state.started}", clock, (), clock)
            yield replace(state, started=state.started + 1, runs=(*state.runs, begun))
        for at, run in enumerate(state.runs):
            others = (*state.runs[:at], *state.runs[at + 1 :])
            if state.left.crashes:
                yield _spent(replace(state, runs=others), crashes=1)
            for number, op in run.outcome.waiting:
                for after, answer in self._answers(state, op):
                    heard = self._at(run.name, run.began, (*run.heard, (number, answer, clock)), clock)
                    if heard.outcome.error:
                        raise Violation("a process broke") from heard.outcome.error
                    yield replace(
                        after, runs=others if heard.outcome.ended else (*state.runs[:at], heard, *others[at:])
                    )

    def _answers(self, state: State, op: Op) -> Iterator[tuple[State, Response]]:
        if op[0].startswith("pool"):
            yield self._in_pool(state, op), Response()
            return
        store, answer = apply(state.store, op)
        after = _mark_returned(replace(state, store=store), op, answer)
        yield after, answer
        if not state.left.faults:
            return
        yield _spent(state, faults=1), Response(None, 503, "ServerBusy")
        if changes(op):
            yield _spent(after, faults=1), Response(None, NO_RESPONSE)
            store, answer = apply(store, op)
            yield _spent(replace(after, store=store), faults=1), answer

    def _at(self, name: str, began: int, heard: History, clock: int) -> Run:
        key = (name, began, heard, clock)
        if key not in self._runs:
            outcome = self._replayer.run(name, holder, heard, began)
            # The time of a call matters only if its response may not take any time.
            since = clock if any(op[0].startswith("pool") for _, op in outcome.waiting) else 0
            place = (name, outcome.print, since)
            self._runs[key] = self._runs.setdefault(place, Run(name, began, heard, outcome, since))
        return self._runs[key]

    # -- invariants ----------------------------------------------------------------------------------------------

    def _in_pool(self, state: State, op: Op) -> State:
        sessions = dict(state.sessions)
        if op[0] == "pool.end":
            sessions.pop(op[1], None)
            return replace(state, sessions=tuple(sorted(sessions.items())))
        users = sessions.get(op[1], ())
        if users and users[-1] not in (op[2], FREE):
            raise Violation(f"{op[2]} used a session that had not been returned: {users}")
        if users and users[-1] == FREE:
            self.takeovers += 1
            users = (*users, op[2])
        begun = state.begun + (not users)
        sessions[op[1]] = users or (op[2],)
        if len(sessions) > 1:
            raise Violation(f"there are {len(sessions)} sessions for one slot: {sessions}")
        return replace(state, sessions=tuple(sorted(sessions.items())), begun=begun)

    def _check(self, state: State) -> None:
        """Check the invariants.

        At the end, the slot names every session that is left, so that its next holder uses or ends it. Never are more
        hours counted than sessions started, since each lives for less than an hour here.
        """
        blob = state.store.blob(DOCUMENT)
        assert blob is not None
        counted = BilledHours.parse(json.loads(blob.data or b"{}").get("hours", "")).total
        if counted > state.begun:
            raise Violation(f"{counted} session-hours are counted, but {state.begun} sessions started")
        self.counted = max(self.counted, counted)
        if state.runs or state.started < self.bounds.processes:
            return
        named = json.loads(blob.data or b"{}").get("identifier")
        if any(identifier != named for identifier, _ in state.sessions):
            raise Violation(f"no slot names a remaining session: {state.sessions}")


def _mark_returned(state: State, op: Op, answer: Response) -> State:
    """Mark the session as returned if the operation wrote that."""
    if answer.status != 200 or op[:2] != ("blob.put", DOCUMENT):
        return state
    document, sessions = json.loads(op[2]), dict(state.sessions)
    if document["state"] == "free" and document["identifier"] in sessions:
        sessions[document["identifier"]] += (FREE,)
    return replace(state, sessions=tuple(sorted(sessions.items())))


def _overdue(run: Run, clock: int) -> bool:
    """Return whether the clock must wait for a call to the pool."""
    return (
        any(op[0].startswith("pool") for _, op in run.outcome.waiting)
        and clock - run.since + STEP > LEASE_MARGIN_SECONDS
    )


def _spent(state: State, **what: int) -> State:
    return replace(state, left=replace(state.left, **{name: getattr(state.left, name) - n for name, n in what.items()}))


@contextmanager
def model_clock() -> Iterator[None]:
    """Replace time and tokens by the model's."""
    now = SimpleNamespace(monotonic=lambda: world().clock, time=lambda: EPOCH + world().clock, perf_counter=lambda: 0.0)
    tokens = SimpleNamespace(token_hex=lambda _: world().token())
    with (
        mock.patch.object(scheduler, "time", now),
        mock.patch.object(lease_keeper, "time", now),
        mock.patch.object(rebalancing, "time", now),
        mock.patch.object(recycler, "time", now),
        mock.patch.object(slot, "time", now),
        mock.patch.object(slot, "secrets", tokens),
        mock.patch.object(leased_documents, "secrets", tokens),
    ):
        yield
