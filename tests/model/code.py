"""The pipeline's code in a simulated world: the model controls time, tokens and sessions, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest import mock

from pipeline import recipes
from pipeline.adhoc_recipes import RecipeCatalog
from pipeline.jobs import dispatch, execution, put_back, retry_policy
from pipeline.jobs.admission import Admission
from pipeline.jobs.dispatch import JobDispatcher
from pipeline.jobs.execution import JobExecutor
from pipeline.jobs.outcomes import OutcomeRecorder
from pipeline.jobs.rendering import StagedRendition
from pipeline.pool.report import RenditionFacts, SessionReport
from pipeline.settings import Settings
from pipeline.storage import claim, entry, ledger, staging
from pipeline.storage.blobs import HeldBytes, Source, Sources
from pipeline.storage.ledger import Ledger
from pipeline.storage.metrics import MetricsStore
from pipeline.storage.queue import JobQueue
from pipeline.storage.renditions import Renditions
from pipeline.storage.shards import FixedShards
from pipeline.testing.clients import Clients
from tests.model.replay import World, world

NAME, INPUT, OUTPUT = "photos/a.jpg", "input", "output"
CLAIM = 60
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
EVENT = b"event"
OLD, NEW = 1, 2


@cache
def program(message: bytes, renditions: int, large: bool = False, deployment: int = 0) -> Any:
    """Return the delivery of a message. The bytes of a `large` source do not arrive when it is opened.

    The deployments OLD and NEW have different versions of the recipe.
    """

    async def run(here: World) -> None:
        dispatcher = _dispatcher(here, renditions, deployment)
        if large:
            dispatcher.sources._held = HeldBytes(0)
        if message == EVENT:
            await dispatcher.handle_blob(INPUT, NAME)
        else:
            await dispatcher.handle_message(message)

    return run


def _dispatcher(here: World, renditions: int, deployment: int) -> JobDispatcher:
    account: Any = Clients(here.ask, here.token)
    renderer: Any = FakeRenderer()
    sources, ledger = (
        Sources(account, (INPUT,)),
        Ledger(account, "ledger", CLAIM, deployment=deployment, shards=FixedShards(1)),
    )
    executor = JobExecutor(SETTINGS, ledger, sources, Renditions(account, OUTPUT), renderer)
    catalog = _catalog(renditions, deployment)
    outcomes = OutcomeRecorder(ledger, sources, catalog)
    no_pauses: Any = NoPauses()
    no_unreadable: Any = None
    queue, admission = JobQueue(account, "jobs", deployment), Admission(no_pauses, 0)
    return JobDispatcher(SETTINGS, catalog, sources, executor, outcomes, queue, admission, no_unreadable)


class NoPauses:
    """Nothing is paused."""

    async def current(self) -> dict[str, datetime]:
        return {}

    async def outdated(self) -> None:
        return None


@cache
def _catalog(renditions: int, deployment: int) -> RecipeCatalog:
    no_adhoc_recipes: Any = None
    return RecipeCatalog(_recipes(renditions, deployment), no_adhoc_recipes)


@cache
def _recipes(renditions: int, deployment: int) -> recipes.Recipes:
    quality = ", quality: 50" if deployment == OLD else ""
    formats = [
        f"      {name}: {{format: {form}{quality}}}" for name, form in [("one", "webp"), ("two", "jpeg")][:renditions]
    ]
    return recipes.loads(
        "recipes:\n  web:\n    match: {include: ['photos/**']}\n    renditions:\n" + "\n".join(formats)
    )


def recipe_hash(deployment: int) -> str:
    """Return the hash of the recipe with one rendition in a deployment."""
    return _recipes(1, deployment).get("web").hash


SETTINGS = Settings(pool_endpoint="http://127.0.0.1:1", claim_ttl=CLAIM, requeue_delay=0)
REPORT = SessionReport(version=1, versions={}, source=None, renditions=[], failure=None, ms={})


class FakeRenderer:
    """Stands in for a session: renditions are the source's bytes, of exactly the pinned version, and their names."""

    async def render(
        self, source: Source, recipe: Any, timer: Any, policy: Any, sink: Any
    ) -> tuple[list[StagedRendition[Any]], SessionReport]:
        data = b"".join([chunk async for chunk in source.chunks()])
        await timer.ensure_claimed()
        staged = []
        for rendition in recipe.renditions:
            facts = RenditionFacts(
                name=rendition.name, file="f", format=rendition.format, size=9, sha256="0" * 64, width=1, height=1
            )
            path = recipe.output_path(rendition, source.name, facts.as_reported)
            content = await sink(path, _chunks(data + rendition.name.encode()))
            staged.append(StagedRendition(rendition, facts, path, content))
        return staged, REPORT


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


class _Clock(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return EPOCH + timedelta(seconds=world().clock)


async def _sleep(_: float) -> None:
    await world().ask(("sleep",))


class _Asyncio:
    """asyncio with a `sleep` that asks the world."""

    sleep = staticmethod(_sleep)

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)


class _NoTimer:
    """Job timer that measures nothing: durations are not part of a state."""

    session, state, started, elapsed = "", "", 0.0, 0.0
    lost_claim: Any = None

    @staticmethod
    async def claim_check() -> None:
        """Replaced by the heartbeat."""

    def __init__(self, recipe: str) -> None:
        self.current = "claim"
        self.ms: dict[str, float] = {}
        self.spans: list[Any] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.current = name
        yield

    async def ensure_claimed(self) -> None:
        await self.claim_check()

    @contextmanager
    def job(self, job_id: str) -> Iterator[None]:
        yield


@contextmanager
def in_a_model() -> Iterator[None]:
    """Let the model control time, tokens and sessions; all decisions remain in the pipeline's code."""
    tokens = SimpleNamespace(token_hex=lambda _: world().name)
    with (
        mock.patch.object(claim, "datetime", _Clock),
        mock.patch.object(ledger, "datetime", _Clock),
        mock.patch.object(entry, "datetime", _Clock),
        mock.patch.object(ledger, "secrets", tokens),
        mock.patch.object(staging, "secrets", tokens),
        mock.patch.object(execution, "asyncio", _Asyncio()),
        mock.patch.object(execution, "JobTimer", _NoTimer),
        mock.patch.object(MetricsStore, "record"),
        mock.patch.object(dispatch, "time", SimpleNamespace(monotonic=lambda: 0.0)),
        mock.patch.object(put_back, "time", SimpleNamespace(time=lambda: 1.0)),
        mock.patch.object(retry_policy.random, "uniform", return_value=1.0),
    ):
        yield
