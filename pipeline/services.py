"""Everything that a process makes once: settings, recipes, clients, slots. The composition root."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pipeline import recipes, telemetry
from pipeline.adhoc_recipes import AdHocRecipes
from pipeline.errors import ConfigError
from pipeline.identity import Identity
from pipeline.pool import engine_bundle
from pipeline.pool.auth import PoolToken
from pipeline.pool.client import PoolClient
from pipeline.pool.scheduler import SlotScheduler
from pipeline.recipes import Recipe, Recipes, adhoc
from pipeline.settings import Settings, StorageAccount
from pipeline.storage.account import Account
from pipeline.storage.assets import Assets
from pipeline.storage.blobs import Renditions, Sources
from pipeline.storage.json_documents import DocumentStore
from pipeline.storage.leased_documents import LeasedDocuments
from pipeline.storage.ledger import Ledger
from pipeline.storage.queue import JobQueue
from pipeline.storage.run_store import RunStore
from pipeline.storage.slot_status_table import SlotStatusTable

ROOT = Path(__file__).parents[1]
SLOT_PREFIX = "slots/"
ADHOC_PREFIX = "adhoc/"
KEYS_PREFIX = "idempotency/"

# By default Python looks for cycles after 700 new objects, which is several times for each job and a tenth of its time.
COLLECT_AFTER = (10_000, 20, 20)


@dataclass(frozen=True)
class Services:
    """What the triggers and the command line work with. `run_slots` bounds the jobs of runs that are under way here."""

    settings: Settings
    recipes: Recipes
    adhoc_recipes: AdHocRecipes
    idempotency: DocumentStore
    account: Account
    sources: Sources
    renditions: Renditions
    assets: Assets
    ledger: Ledger
    job_queue: JobQueue
    run_queue: JobQueue
    run_store: RunStore
    run_slots: asyncio.Semaphore
    pool: PoolClient
    slot_documents: LeasedDocuments
    slot_status: SlotStatusTable
    scheduler: SlotScheduler
    identity: Identity | None

    @classmethod
    def open(cls, settings: Settings, recipe_file: Recipes, environ: Mapping[str, str]) -> Self:
        """Make the clients; nothing is sent yet. To be called where the event loop runs."""
        gc.set_threshold(*COLLECT_AFTER)
        storage = StorageAccount.load(environ)
        pool, identity = pool_client(settings, storage, environ)
        account = Account.open(storage, identity)
        documents = LeasedDocuments(account, settings.state_container, SLOT_PREFIX, settings.slot_lease_duration)
        board = SlotStatusTable(account, settings.run_table)
        return cls(
            settings=settings,
            recipes=recipe_file,
            adhoc_recipes=AdHocRecipes(
                settings,
                recipe_file,
                DocumentStore(account, settings.state_container, ADHOC_PREFIX),
                code_folder(settings),
            ),
            idempotency=DocumentStore(account, settings.state_container, KEYS_PREFIX),
            account=account,
            sources=Sources(account, (settings.input_container, settings.upload_container)),
            renditions=Renditions(account, settings.output_container),
            assets=Assets(account, settings.asset_container),
            ledger=Ledger(account, settings.ledger_table, settings.claim_ttl, [*recipe_file.names, adhoc.GROUP]),
            job_queue=JobQueue(account, settings.job_queue),
            run_queue=JobQueue(account, settings.run_queue),
            run_store=RunStore(account, settings.run_table),
            run_slots=asyncio.Semaphore(settings.run_concurrency),
            pool=pool,
            slot_documents=documents,
            slot_status=board,
            scheduler=SlotScheduler(settings, documents, pool, board),
            identity=identity,
        )

    async def recipe(self, name: str) -> Recipe:
        """The recipe of that name, of the file or of a request. RecipeError (`unknown_recipe`) when there is none."""
        return await self.adhoc_recipes.get(name) if adhoc.is_name(name) else self.recipes.get(name)

    async def close(self) -> None:
        """Give slots back and close all connections."""
        await self.scheduler.close()
        await self.ledger.stats.close()
        await self.pool.close()
        await self.account.close()
        if self.identity:
            await self.identity.close()


def pool_client(
    settings: Settings, storage: StorageAccount, environ: Mapping[str, str]
) -> tuple[PoolClient, Identity | None]:
    """The pool's client, and the identity that storage and pool share; None where neither needs one."""
    needs_identity = storage.blob_uri is not None or settings.pool_needs_token
    identity = Identity.from_environment(environ, storage.client_id) if needs_identity else None
    return PoolClient(settings, PoolToken(identity) if identity and settings.pool_needs_token else None), identity


def load_recipes(settings: Settings) -> Recipes:
    """The recipe file that `settings` names. ConfigError lists what is wrong in it."""
    loaded = recipes.load(
        ROOT / settings.recipes,
        input_container=settings.input_container,
        output_container=settings.output_container,
        allow_code=settings.allow_code,
        code_folder=code_folder(settings),
    )
    many = [recipe.name for recipe in loaded if len(recipe.renditions) > settings.max_renditions]
    if many:
        raise ConfigError(
            f"{settings.recipes}: more than {settings.max_renditions} renditions (PIPELINE_MAX_RENDITIONS) in the "
            f"recipes {', '.join(many)}: split them"
        )
    return loaded


def code_folder(settings: Settings) -> Path | None:
    """The folder of the modules that recipes may name as their code."""
    return ROOT / settings.code_folder if settings.code_folder else None


class ServicesProvider:
    """The services of this process, made at first use, since clients belong to the event loop they are made in.

    Settings and recipes are read at once, so that what is wrong with them shows when the app starts.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        telemetry.quiet_libraries()
        self._environ = environ
        self.settings = Settings.load(environ)
        self.recipes = load_recipes(self.settings)
        engine_bundle.build()
        self._services: Services | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def services(self) -> Services:
        """The services of the running event loop."""
        loop = asyncio.get_running_loop()
        if self._services is None or self._loop is not loop:
            self._services, self._loop = Services.open(self.settings, self.recipes, self._environ), loop
        return self._services
