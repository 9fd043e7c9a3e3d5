"""Every interleaving of the code that claims, commits, records and gives up jobs keeps what is promised."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from azure.core import MatchConditions

from pipeline.storage import ledger
from pipeline.storage.blobs import Renditions, Sources, Staged
from pipeline.storage.queue import JobQueue
from pipeline.testing import store
from pipeline.testing.store import Store
from tests.model.jobs import Bounds, Search
from tests.model.search import Violation

SMALL = Bounds(workers=2, crashes=0, waits=1, overwrites=1)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Nobody reads the logs of a hundred thousand deliveries."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("bounds", "least"),
    [
        (Bounds(workers=3, crashes=0, waits=1, overwrites=1, duplicates=1), 20_000),
        (Bounds(workers=2, crashes=1, waits=1, overwrites=1), 6_000),
        (Bounds(workers=2, crashes=0, waits=0, overwrites=1, renditions=2), 600),
        (Bounds(workers=2, crashes=0, waits=0, overwrites=1, faults=1), 5_000),
        (Bounds(workers=2, crashes=0, waits=1, overwrites=1, deletions=1), 800),
        (Bounds(workers=2, crashes=1, waits=1, overwrites=0, deletions=1), 150),
        (Bounds(workers=2, crashes=0, waits=1, overwrites=0, duplicates=1, renewals=1), 4_000),
    ],
    ids=[
        "three workers",
        "a death",
        "two renditions",
        "a call that goes wrong",
        "a deletion",
        "a deletion after a death",
        "a renewal",
    ],
)
def test_no_job_is_lost_mixed_up_or_done_twice(bounds: Bounds, least: int) -> None:
    found = Search(bounds).run()
    assert found.states >= least, "the search has become smaller: it may not see what it is for"
    assert found.ends > 1


def test_merging_equal_workers_loses_no_end_state() -> None:
    """The shortcut of the search loses nothing."""
    with_it, without = Search(SMALL).run(), Search(SMALL, merge=False).run()
    assert with_it.states < without.states
    assert with_it.stores == without.stores


# -- the search finds what it is for: each of these breaks one thing that the code does ------------------------------


async def _no_condition(self: Staged, blob: Any, owner: Any, condition: Any) -> bool:
    await self._blob.upload_blob(bytes(self._buffer), overwrite=True, metadata=owner.metadata())
    return True


async def _no_generation(self: Renditions, path: str, owner: Any) -> dict[str, Any]:
    there = await self._client.get_blob_client(path).get_blob_properties()
    return {"etag": there.etag, "match_condition": MatchConditions.IfNotModified}


async def _always_current(self: Sources, container: str, name: str, etag: str) -> bool:
    return True


def _last_writer(store: Store, table: str, items: Any, etag: str) -> Any:
    there = store.row(*_key(table, items))
    return _update(store, table, items, there.etag if there else "")


async def _forgotten(self: JobQueue, message: Any, delay: float = 0) -> None:
    return


def _impatient(entry: Any, version: Any, now: Any, **wish: Any) -> str:
    verdict = _judge(entry, version, now, **wish)
    return "take" if verdict == "done" else verdict


_update, _key, _judge = store._row_update, store._key, ledger.decide_claim


def _broken(where: Any, name: str, by: Any) -> Any:
    return lambda: mock.patch.object(where, name, by)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (_broken(Staged, "write", _no_condition), "replaced"),
        (_broken(Renditions, "_may_replace", _no_generation), "replaced"),
        (_broken(Sources, "is_current", _always_current), "older version took the row"),
        (lambda: mock.patch.dict(store._ROWS, update=_last_writer), "twice|older version|nothing brings"),
        (_broken(JobQueue, "send", _forgotten), "for ever|nothing brings the job back"),
        (_broken(ledger, "decide_claim", _impatient), "done twice"),
    ],
    ids=["no condition", "no generation", "no look at the source", "no row etag", "no message", "done is not the end"],
)
def test_the_search_finds_a_broken_rule(broken: Any, says: str) -> None:
    with broken(), pytest.raises(Violation, match=says):
        Search(Bounds(workers=2, crashes=1, waits=1, overwrites=1)).run()
