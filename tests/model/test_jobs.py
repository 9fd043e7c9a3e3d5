"""All interleavings of the code that claims, commits, records and fails jobs keep the invariants."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
from azure.core import MatchConditions

from pipeline.jobs.source_content import ContentComparison
from pipeline.storage import Entry, Version, ledger
from pipeline.storage.blobs import Sources
from pipeline.storage.queue import JobQueue
from pipeline.storage.renditions import Renditions
from pipeline.storage.staging import Staged
from pipeline.testing import operations
from pipeline.testing.store import Store
from tests.model.jobs import Bounds, Search
from tests.model.search import Violation

SMALL = Bounds(workers=2, crashes=0, waits=1, overwrites=1)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Disable the logs of a hundred thousand deliveries."""
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
        (Bounds(workers=2, crashes=0, waits=0, overwrites=0, duplicates=1, touches=1, large=True), 800),
        (Bounds(workers=2, crashes=0, waits=0, overwrites=1, touches=1, large=True), 8_000),
        (Bounds(workers=2, crashes=0, waits=1, overwrites=0, duplicates=1, old=2), 1_000),
    ],
    ids=[
        "three workers",
        "a crash",
        "two renditions",
        "a failed call",
        "a deletion",
        "a deletion after a crash",
        "a heartbeat",
        "metadata of a large source",
        "metadata and content of a large source",
        "two deployments",
    ],
)
def test_no_job_is_lost_mixed_up_or_done_twice(bounds: Bounds, least: int) -> None:
    search = Search(bounds).run()
    assert search.states >= least, "the search has become smaller and may miss faults"
    assert search.ends > 1


def test_merging_equal_workers_loses_no_end_state() -> None:
    """Merging workers with equal fingerprints loses no state."""
    with_it, without = Search(SMALL).run(), Search(SMALL, merge=False).run()
    assert with_it.states < without.states
    assert with_it.stores == without.stores


# -- the search finds faults: each case breaks one rule of the code ---------------------------------------------------


async def _no_condition(self: Staged, metadata: Any, **_: Any) -> str:
    written = await self._blob.upload_blob(bytes(self._buffer), overwrite=True, metadata=metadata)
    return str(written["etag"])


async def _no_generation(self: Renditions, path: str, mark: Any) -> dict[str, Any]:
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


async def _unread(self: ContentComparison, entry: Entry) -> Entry | None:
    return replace(entry, version=Version(self.source.etag, self.recipe.hash)) if entry.state == "done" else None


_update, _key, _judge = operations._row_update, operations._key, ledger.decide_claim


def _broken(where: Any, name: str, by: Any) -> Any:
    return lambda: mock.patch.object(where, name, by)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (_broken(Staged, "commit", _no_condition), "replaced"),
        (_broken(Renditions, "_may_replace", _no_generation), "replaced"),
        (_broken(Sources, "is_current", _always_current), "older version took the row"),
        (lambda: mock.patch.dict(operations._ROWS, update=_last_writer), "twice|older version|the job is lost"),
        (_broken(JobQueue, "send", _forgotten), "forever|the job is lost"),
        (_broken(ledger, "decide_claim", _impatient), "done twice"),
        (_broken(ContentComparison, "adopted", _unread), "the renditions are"),
    ],
    ids=[
        "no condition",
        "no generation",
        "no source check",
        "no row ETag",
        "no message",
        "done is claimed again",
        "unread",
    ],
)
def test_the_search_finds_a_broken_rule(broken: Any, says: str) -> None:
    with broken(), pytest.raises(Violation, match=says):
        Search(Bounds(workers=2, crashes=1, waits=1, overwrites=1)).run()


def test_the_search_finds_an_older_deployment_that_replaces_a_newer_one() -> None:
    with (
        mock.patch.object(Entry, "is_of_newer", return_value=False),
        pytest.raises(Violation, match="older deployment"),
    ):
        Search(Bounds(workers=2, crashes=0, waits=0, overwrites=0, duplicates=1, old=1)).run()
