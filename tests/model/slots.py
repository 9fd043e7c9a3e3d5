"""One slot of the pool and several processes that want it, explored: the pipeline's own code over leases that run out.

A call to the session pool may take as long as the slot's margin allows for and no longer, which is what the margin is
for; a call to storage as long as it likes. Processes die anywhere, stand still for as long as they like, and storage
refuses, loses answers or is told twice.
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
from pipeline.pool import rebalancing, scheduler, slot
from pipeline.pool.billing import BilledHours
from pipeline.pool.requests import SlotRequest
from pipeline.pool.scheduler import SlotScheduler
from pipeline.pool.slot import LEASE_MARGIN_SECONDS
from pipeline.settings import Settings
from pipeline.storage import leased_documents
from pipeline.storage.leased_documents import LeasedDocuments
from pipeline.testing.clients import NO_RESPONSE, Clients
from pipeline.testing.store import Op, Response, Store, apply
from tests.model.replay import History, Outcome, Replayer, World, world
from tests.model.search import Violation, changes, explored

LEASE, STEP, USES = 15, int(LEASE_MARGIN_SECONDS), 1
FREE = "free"
# When the model's clock begins: a session that began at 0 would be one that has not begun.
EPOCH = 1_000_000
NAME, DOCUMENT = "slots/000.json", "state/slots/000.json"
SETTINGS = Settings(pool_endpoint="http://127.0.0.1:1", slot_lease_duration=LEASE, pool_max_sessions=1)


class Pool:
    """In the place of the pool's client: what matters here is which session is used by whom, and ended."""

    def __init__(self, here: World) -> None:
        self._here = here

    async def use(self, identifier: str) -> None:
        """Anything that a job does in a session; the pool makes one where there is none."""
        await self._here.ask(("pool.use", identifier, self._here.name))

    async def end(self, identifier: str) -> None:
        """End a session."""
        await self._here.ask(("pool.end", identifier))


async def holder(here: World) -> None:
    """A process: it takes the slot, has some jobs, renewing before each, and gives the slot back."""
    account: Any = Clients(here.ask, here.token)
    pool: Any = Pool(here)
    held = SlotScheduler(SETTINGS, LeasedDocuments(account, "state", "slots/", LEASE), pool)
    with suppress(PipelineError):  # as `_take_more` does
        await held._acquire_lease(NAME)
    for one in list(held._slots):
        for _ in range(USES):
            ask = SlotRequest()
            if not one.can_start(ask):
                break
            one.start_job(ask)
            try:
                one.session._check()
                since = EPOCH + here.clock
                await pool.use(one.identifier)
                one.answered(since)
                await held._note(one)
            except PipelineError as error:
                one.recycle_reason = error.kind
            one.end_job(ask)
            await held._renew(one)
        if one in held._slots:
            await held._return_slot(one)


@dataclass(frozen=True)
class Bounds:
    """How many processes there are in all, how long it may go on (seconds), and how often each thing may happen."""

    processes: int = 2
    seconds: int = 20
    crashes: int = 1
    faults: int = 0


@dataclass(eq=False)
class Run:
    """A process and what it has heard; `since` is when its last question was put."""

    name: str
    began: int
    heard: History
    outcome: Outcome
    since: int


@dataclass(frozen=True)
class State:
    """Everything. `sessions` are those that exist, by identifier, with the processes that used them, in order.

    `begun` is how many there have been.
    """

    store: Store
    left: Bounds
    started: int = 0
    runs: tuple[Run, ...] = ()
    sessions: tuple[tuple[str, tuple[str, ...]], ...] = ()
    begun: int = 0


@dataclass
class Search:
    """Goes through every state that can be reached."""

    bounds: Bounds
    states: int = 0
    steps: int = 0
    takeovers: int = 0
    counted: int = 0
    _runs: dict[Any, Run] = field(default_factory=dict)
    _replayer: Replayer = field(default_factory=Replayer)

    def run(self) -> Search:
        """Search everything."""
        first = State(Store().written(DOCUMENT, b"{}"), self.bounds)
        with in_a_model(), self._replayer:
            self.states, self.steps = explored(first, self._following, self._check)
        return self

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
        after = _given_back(replace(state, store=store), op, answer)
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
            # When a question was put makes a difference only where the answer may not come at any time.
            since = clock if any(op[0].startswith("pool") for _, op in outcome.waiting) else 0
            place = (name, outcome.print, since)
            self._runs[key] = self._runs.setdefault(place, Run(name, began, heard, outcome, since))
        return self._runs[key]

    # -- what must hold ----------------------------------------------------------------------------------------------

    def _in_pool(self, state: State, op: Op) -> State:
        sessions = dict(state.sessions)
        if op[0] == "pool.end":
            sessions.pop(op[1], None)
            return replace(state, sessions=tuple(sorted(sessions.items())))
        users = sessions.get(op[1], ())
        if users and users[-1] not in (op[2], FREE):
            raise Violation(f"{op[2]} used a session that nobody had given back: {users}")
        if users and users[-1] == FREE:
            self.takeovers += 1
            users = (*users, op[2])
        begun = state.begun + (not users)
        sessions[op[1]] = users or (op[2],)
        if len(sessions) > 1:
            raise Violation(f"there are {len(sessions)} sessions for one slot: {sessions}")
        return replace(state, sessions=tuple(sorted(sessions.items())), begun=begun)

    def _check(self, state: State) -> None:
        """At the end, every session that is left is named by the slot: whoever takes it next ends or uses that one.

        No more hours are ever counted than sessions have begun, each of which lives for less than an hour here.
        """
        blob = state.store.blob(DOCUMENT)
        assert blob is not None
        counted = BilledHours.parse(json.loads(blob.data or b"{}").get("hours", "")).total
        if counted > state.begun:
            raise Violation(f"{counted} session-hours are counted, and {state.begun} sessions have begun")
        self.counted = max(self.counted, counted)
        if state.runs or state.started < self.bounds.processes:
            return
        named = json.loads(blob.data or b"{}").get("identifier")
        if any(identifier != named for identifier, _ in state.sessions):
            raise Violation(f"a session is left that no slot names: {state.sessions}")


def _given_back(state: State, op: Op, answer: Response) -> State:
    """With a session marked as given back, where that is what was written."""
    if answer.status != 200 or op[:2] != ("blob.put", DOCUMENT):
        return state
    said, sessions = json.loads(op[2]), dict(state.sessions)
    if said["state"] == "free" and said["identifier"] in sessions:
        sessions[said["identifier"]] += (FREE,)
    return replace(state, sessions=tuple(sorted(sessions.items())))


def _overdue(run: Run, clock: int) -> bool:
    """Whether time stands still until a call to the pool has arrived."""
    return (
        any(op[0].startswith("pool") for _, op in run.outcome.waiting)
        and clock - run.since + STEP > LEASE_MARGIN_SECONDS
    )


def _spent(state: State, **what: int) -> State:
    return replace(state, left=replace(state.left, **{name: getattr(state.left, name) - n for name, n in what.items()}))


@contextmanager
def in_a_model() -> Iterator[None]:
    """Time and tokens are the model's."""
    now = SimpleNamespace(monotonic=lambda: world().clock, time=lambda: EPOCH + world().clock, perf_counter=lambda: 0.0)
    tokens = SimpleNamespace(token_hex=lambda _: world().token())
    with (
        mock.patch.object(scheduler, "time", now),
        mock.patch.object(slot, "time", now),
        mock.patch.object(rebalancing, "time", now),
        mock.patch.object(slot, "secrets", tokens),
        mock.patch.object(leased_documents, "secrets", tokens),
    ):
        yield
