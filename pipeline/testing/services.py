"""The pipeline's services on in-memory storage and a fake session pool."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline import recipes
from pipeline.pool.client import PoolClient
from pipeline.recipes import Recipes
from pipeline.services import Services
from pipeline.settings import Settings
from pipeline.storage import create_all
from pipeline.testing.account import MemoryAccount
from pipeline.testing.pool import FakePool


def memory_settings(**settings: object) -> Settings:
    """Return settings for `memory_services`: the defaults, without delays, and those given here."""
    values = {"requeue_delay": 0, "retry_max_attempts": 1, **settings}
    return Settings.model_validate({"pool_endpoint": "http://127.0.0.1:1", **values})


@asynccontextmanager
async def memory_services(
    settings: Settings,
    recipe_file: Recipes | str,
    *,
    account: MemoryAccount | None = None,
    pool: FakePool | None = None,
    client: PoolClient | None = None,
    deployment: int = 0,
    shards: int = 2,
) -> AsyncIterator[Services]:
    """Yield services, with the containers, queues and tables created, and close them at the end.

    Pass an `account` and a `pool` to look into them, to make them fail, or to share them between several services,
    which then act like several processes. A `client` takes the place of the pool. Give the services a `deployment`
    number each to act like two deployments. A new account gets a ledger with `shards` shards.
    """
    loaded = recipes.loads(recipe_file, allow_code=settings.allow_code) if isinstance(recipe_file, str) else recipe_file
    account = account or MemoryAccount()
    client = client or PoolClient(settings, None, transport=pool or FakePool(settings.pool_max_sessions))
    services = Services.compose(settings, loaded, account, client, None, deployment, account.clock)
    await create_all(account, settings)
    await services.ledger.shards.install(shards)
    try:
        yield services
    finally:
        await services.close()
