"""Model search over claims, commits and the queue: all interleavings of the pipeline's code, within bounds.

Workers are deliveries of messages that run the real dispatcher on in-memory storage. Between two storage calls of a
worker anything may happen: a call of another worker, an overwritten, touched or deleted source, an expired claim, a
crash, or a call whose response is lost, that is sent twice, that arrives late, or that storage refuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from typing import Any

from pipeline.errors import PipelineError
from pipeline.storage.packed_documents import Documents
from pipeline.storage.rendition_mark import GENERATION_METADATA_KEY
from pipeline.testing.clients import NO_RESPONSE
from pipeline.testing.operations import apply
from pipeline.testing.store import Items, Op, Response, Row, Store
from tests.model.code import CLAIM, EPOCH, EVENT, INPUT, NAME, NEW, OLD, OUTPUT, in_a_model, program, recipe_hash
from tests.model.replay import History, Outcome, Replayer, World
from tests.model.search import Violation, changes, explored

SOURCE = f"{INPUT}/{NAME}"
QUEUE = "jobs"
ME, OTHER, GONE = "me", "other", "gone"


@dataclass(frozen=True)
class Bounds:
    """Numbers of workers and renditions, and how often each event may happen at most."""

    workers: int = 3
    crashes: int = 1
    faults: int = 0
    waits: int = 1
    overwrites: int = 1
    deletions: int = 0
    duplicates: int = 0
    renewals: int = 0
    renditions: int = 1
    touches: int = 0
    old: int = 0
    """Deliveries to an older deployment, with another version of the recipe."""
    large: bool = False
    """The bytes of the source do not arrive when it is opened, so that it can change before they are read."""


@dataclass(eq=False)
class Run:
    """A delivery in progress: its message and its responses so far. Equal deliveries share one object.

    To itself a worker is `ME`, and any other holder of the row is `OTHER`: the code only compares the two.
    """

    number: int
    message: bytes
    heard: History
    outcome: Outcome
    deployment: int
    crashes: bool
    """True if a crash here differs from a crash one step earlier: the worker has changed something."""


@dataclass(frozen=True)
class State:
    """Complete state. In `store` and `late`, the worker runs[i] is named `i`, and an ended one `GONE`.

    `late` holds abandoned calls that storage has yet to receive, `done` the versions recorded as done.
    """

    store: Store
    left: Bounds
    runs: tuple[Run, ...] = ()
    late: tuple[Op, ...] = ()
    done: tuple[str, ...] = ()


@dataclass
class Search:
    """Visits every reachable state and checks the invariants.

    With `merge`, workers with equal fingerprints count as equal, also after different histories.
    """

    bounds: Bounds
    merge: bool = True
    states: int = 0
    steps: int = 0
    ends: int = 0
    stores: set[Store] = field(default_factory=set)
    _runs: dict[Any, Run] = field(default_factory=dict)
    _replayer: Replayer = field(default_factory=Replayer)

    def run(self) -> Search:
        """Search all reachable states."""
        first = State(Store().written(SOURCE, b"v1").sent(QUEUE, EVENT), self.bounds)
        with in_a_model(), self._replayer:
            _calm.cache_clear()
            self.states, self.steps = explored(first, self._following, self._check)
        return self

    # -- events ---------------------------------------------------------------------------------------------

    def _following(self, state: State) -> Iterator[State]:
        yield from self._around(state)
        if len(state.runs) < self.bounds.workers:
            for message in set(state.store.visible()):
                for old in (0, 1) if state.left.old else (0,):
                    run = self._begun(message.body, OLD if old else NEW if self.bounds.old else 0)
                    # The start and the first operation are one step: no difference is visible before that.
                    begun = replace(state, store=state.store.without(message), runs=(*state.runs, run))
                    yield from self._asks(_spent(begun, old=old), len(state.runs))
        for at, run in enumerate(state.runs):
            if state.left.crashes and run.crashes:
                yield _spent(_ended(state, at, run.message), crashes=1)
            yield from self._asks(state, at)

    def _around(self, state: State) -> Iterator[State]:
        """Yield the states after events that no worker causes."""
        left, store = state.left, state.store
        if (left.waits and _claimed(store)) or (store.messages and not state.runs and not store.visible()):
            yield _spent(replace(state, store=store.later(CLAIM + 1)), waits=min(1, left.waits))
        if left.overwrites and store.blob(SOURCE):
            yield _spent(replace(state, store=store.written(SOURCE, b"v2").sent(QUEUE, EVENT)), overwrites=1)
        if left.touches and (source := store.blob(SOURCE)):
            # Metadata are written: another ETag, the same content, and no event.
            yield _spent(replace(state, store=store.written(SOURCE, source.data)), touches=1)
        if left.deletions:
            yield _spent(replace(state, store=store.written(SOURCE, None)), deletions=1, overwrites=left.overwrites)
        if left.duplicates:
            yield _spent(replace(state, store=store.sent(QUEUE, EVENT)), duplicates=1)
        for op in set(state.late):
            late = list(state.late)
            late.remove(op)
            yield self._applied(replace(state, late=tuple(late)), op)[0]

    def _asks(self, state: State, at: int) -> Iterator[State]:
        """Yield the states after each possible outcome of a worker's pending calls."""
        run = state.runs[at]
        for number, asked in run.outcome.waiting:
            if asked[0] != "sleep":
                op = _owned(asked, {ME: str(at)})
                for after, response in self._responses(state, op):
                    yield self._heard(after, at, number, asked, response)
            elif sum(response is SLEPT for _, response, _ in run.heard) < self.bounds.renewals:
                yield self._heard(state, at, number, asked, SLEPT)

    def _responses(self, state: State, op: Op) -> Iterator[tuple[State, Response]]:
        after, response = self._applied(state, op)
        yield after, response
        if not state.left.faults:
            return
        state, after = _spent(state, faults=1), _spent(after, faults=1)
        yield state, Response(None, 503, "ServerBusy")
        if changes(op):
            yield self._applied(after, op)
            yield after, Response(None, NO_RESPONSE)
            yield replace(state, late=(*state.late, op)), Response(None, NO_RESPONSE)

    def _heard(self, state: State, at: int, number: int, asked: Op, response: Response) -> State:
        """Give a worker a response: it continues to its next operation or its end."""
        run = state.runs[at]
        after = self._next(run, number, asked, _seen_by(at, response), state.store.clock)
        still = {left for left, _ in after.outcome.waiting}
        # A call that the worker abandoned (a concurrent one failed) may still arrive.
        given_up = [op for left, op in run.outcome.waiting if left not in still and left != number and changes(op)]
        late = (*state.late, *(_owned(op, {ME: str(at)}) for op in given_up))
        state = replace(state, late=late, runs=(*state.runs[:at], after, *state.runs[at + 1 :]))
        outcome = after.outcome
        if not outcome.ended:
            return _in_order(state)
        if outcome.error is not None and not isinstance(outcome.error, PipelineError):
            raise Violation(f"a worker ended with {outcome.error!r}") from outcome.error
        return _ended(state, at, run.message if outcome.error else None)

    def _begun(self, message: bytes, deployment: int) -> Run:
        place = (message, deployment)
        if place not in self._runs:
            outcome = self._replayer.run(ME, self._program(message, deployment), ())
            self._runs[place] = Run(len(self._runs), message, (), outcome, deployment, crashes=False)
        return self._runs[place]

    def _program(self, message: bytes, deployment: int) -> Any:
        return program(message, self.bounds.renditions, self.bounds.large, deployment)

    def _next(self, run: Run, number: int, op: Op, response: Response, clock: int) -> Run:
        key = (run, number, response, clock)
        if key in self._runs:
            return self._runs[key]
        heard = (*run.heard, (number, response, clock))
        outcome = self._replayer.run(ME, self._program(run.message, run.deployment), heard)
        changed = changes(op) and response.status in (200, NO_RESPONSE)
        slept = sum(response is SLEPT for _, response, _ in heard)
        began = (run.message, run.deployment)
        place = (began, outcome.print, slept, changed) if self.merge else (began, heard)
        if place not in self._runs:
            self._runs[place] = Run(len(self._runs), run.message, heard, outcome, run.deployment, changed)
        self._runs[key] = self._runs[place]
        return self._runs[key]

    # -- invariants ----------------------------------------------------------------------------------------------

    def _applied(self, state: State, op: Op) -> tuple[State, Response]:
        """Carry out a call; check that no older result replaces a newer one, and that none is done twice."""
        store, response = apply(state.store, op)
        if response.status == 200 and op[0] in ("blob.put", "blob.commit") and op[1].startswith(OUTPUT):
            _never_backwards(state.store, store, op[1])
        if response.status == 200 and op[0] in ("row.create", "row.update", "rows"):
            return replace(state, store=store, done=_once(state, store)), response
        return replace(state, store=store), response

    def _check(self, state: State) -> None:
        self.stores.add(_anonymous(state.store))
        _calm(
            replace(state.store, clock=0, messages=()),
            state.store.clock + CLAIM + 1,
            self.bounds.renditions,
            self.bounds.large,
            NEW if self.bounds.old else 0,
        )
        if state.runs or state.store.messages or state.late:
            return
        self.ends += 1
        row = _row(state.store)
        if row and row["state"] in ("running", "queued"):
            raise Violation(f"a job stays {row['state']} forever")
        if state.store.blob(SOURCE):
            finished(state.store, touched=self.bounds.touches > 0)


SLEPT = Response("slept")


def _spent(state: State, **what: int) -> State:
    left = {name: getattr(state.left, name) - count for name, count in what.items()}
    return replace(state, left=replace(state.left, **left))


def _ended(state: State, at: int, message: bytes | None) -> State:
    """Remove a worker; its message, if any, is delivered again."""
    store = state.store.sent(QUEUE, message) if message else state.store
    return _in_order(replace(state, store=store), without=at)


def _in_order(state: State, without: int | None = None) -> State:
    """Sort the workers and rename them accordingly, so that states that differ only by names are equal."""
    owner = _row_owner(state.store)
    kept = [at for at in range(len(state.runs)) if at != without]
    kept.sort(key=lambda at: (state.runs[at].number, str(at) != owner))
    names = {str(old): str(new) for new, old in enumerate(kept)}
    late = tuple(sorted((_owned(op, names) for op in state.late), key=repr)) if state.late else ()
    store = state.store
    if owner is not None and names.get(owner, GONE) != owner:
        store = _with_owners(store, names)
    return replace(state, store=store, late=late, runs=tuple(state.runs[at] for at in kept))


def _anonymous(store: Store) -> Store:
    """Return the store without the name of the row's holder."""
    return _with_owners(store, {})


def _with_owners(store: Store, names: dict[str, str]) -> Store:
    return replace(store, rows=tuple((key, replace(row, items=_renamed(row.items, names))) for key, row in store.rows))


def _renamed(items: Items, names: dict[str, str]) -> Items:
    return tuple((name, names.get(value, GONE) if name == "owner" else value) for name, value in items)


def _owned(op: Op, names: dict[str, str]) -> Op:
    """Rename the owner in a call."""
    if op[0] in ("row.create", "row.update"):
        return (*op[:2], _renamed(op[2], names), *op[3:])
    if op[0] == "rows":
        return (*op[:2], tuple((verb, _renamed(items, names), etag) for verb, items, etag in op[2]))
    return op


def _seen_by(at: int, response: Response) -> Response:
    """Return a response as the worker sees it: the owner is itself or another worker."""
    if not isinstance(response.value, Row):
        return response
    mine = dict(response.value.items)["owner"] == str(at)
    items = tuple((k, (ME if mine else OTHER) if k == "owner" else v) for k, v in response.value.items)
    return replace(response, value=replace(response.value, items=items))


def _row_owner(store: Store) -> str | None:
    row = _row(store)
    return row and row["owner"]


def _row(store: Store) -> dict[str, Any] | None:
    """Return the row of the job, which alone has an owner; the other rows list it."""
    rows = [dict(row.items) for _, row in store.rows]
    return next((row for row in rows if "owner" in row), None)


def _lists(store: Store) -> set[str]:
    return {key[2] for key, row in store.rows if "owner" not in dict(row.items)}


def _claimed(store: Store) -> bool:
    """Return True if time matters: there is a claim that can expire."""
    row = _row(store)
    return bool(row and row["state"] == "running" and row["expires"] > EPOCH + timedelta(seconds=store.clock))


def _never_backwards(before: Store, after: Store, path: str) -> None:
    old, new = before.blob(path), after.blob(path)
    if old is None or new is None:
        return
    if int(dict(new.metadata)[GENERATION_METADATA_KEY]) < int(dict(old.metadata)[GENERATION_METADATA_KEY]):
        raise Violation(f"{path}: an older generation replaced a newer one")
    if _deployment(new.metadata) < _deployment(old.metadata):
        raise Violation(f"{path}: an older deployment replaced a newer one")
    if (new.data or b"")[:2] < (old.data or b"")[:2]:
        raise Violation(f"{path}: {new.data!r} replaced {old.data!r}")


def _deployment(metadata: Items) -> int:
    return int(dict(metadata).get("pipeline_deployment", "0"))


def _once(state: State, after: Store) -> tuple[str, ...]:
    """Return the versions recorded as done; each may be recorded once."""
    old, new = _row(state.store), _row(after)
    assert new is not None
    if old and old["source_etag"] > new["source_etag"]:
        raise Violation("a job of an older version took the row of a newer one")
    if old and _recipe_of(old, NEW) and _recipe_of(new, OLD):
        raise Violation("an older deployment took the row of a newer one")
    if new["state"] != "done":
        return state.done
    version = f"{new['source_etag']} {new['recipe_hash']}"
    if version in state.done:
        raise Violation(f"version {version} was recorded as done twice")
    return (*state.done, version)


def _recipe_of(row: dict[str, Any], deployment: int) -> bool:
    """Return True if a row holds the recipe version of a deployment."""
    return bool(row["recipe_hash"] == recipe_hash(deployment))


def finished(store: Store, *, touched: bool = False) -> None:
    """Check that the job is done for the current source, and that all its renditions are of that content.

    A source that was `touched` after its job has another ETag than the row, until the next run.
    """
    source, row = store.blob(SOURCE), _row(store)
    assert source is not None
    if row is None or row["state"] != "done" or (row["source_etag"] != str(source.version) and not touched):
        raise Violation(f"the job is lost: the source is version {source.version}, and the row {row}")
    listed = row.get("listed", "")
    if _lists(store) != {listed}:
        raise Violation(f"the job is listed under {_lists(store)}, and its row says {listed}")
    outputs = {path: blob.data for path, blob in store.blobs if path.startswith(OUTPUT)}
    wanted = {f"{OUTPUT}/{one['path']}" for one in Documents("details", row["details"]).renditions("renditions")}
    if set(outputs) != wanted or {(data or b"")[:2] for data in outputs.values()} != {source.data}:
        raise Violation(f"the renditions are {outputs}, of a source that is {source.data!r}")


@cache
def _calm(store: Store, clock: int, renditions: int, large: bool, deployment: int) -> None:
    """Check that from every state one undisturbed worker brings the job to its end."""
    if store.blob(SOURCE) is None:
        return
    held = [replace(store, clock=clock)]

    async def alone(here: World) -> None:
        async def send(op: Op) -> Response:
            if op[0] == "sleep":
                await asyncio.get_running_loop().create_future()
            held[0], response = apply(held[0], op)
            return response

        here.ask = send  # type: ignore[method-assign]
        await program(EVENT, renditions, large, deployment)(here)

    with Replayer() as replayer:
        outcome = replayer.run("calm", alone, (), clock)
    if outcome.error:
        raise Violation("an undisturbed worker failed") from outcome.error
    finished(held[0])
