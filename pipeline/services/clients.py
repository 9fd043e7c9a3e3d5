"""Clients of a process: storage, session pool and identity."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pipeline.adhoc_recipes import AdHocRecipes
    from pipeline.errors import CostCapReached
    from pipeline.identity import Identity
    from pipeline.jobs.admission import Admission
    from pipeline.jobs.session_hours import SessionHours
    from pipeline.pool.client import PoolClient
    from pipeline.pool.scheduler import SlotScheduler
    from pipeline.recipes import Recipes
    from pipeline.settings import Settings, StorageAccount
    from pipeline.storage import (
        Account,
        Assets,
        DocumentStore,
        JobQueue,
        LeasedDocuments,
        Ledger,
        Renditions,
        RunStore,
        SlotStatusTable,
        Sources,
    )

SLOT_PREFIX = "slots/"
ADHOC_PREFIX = "adhoc/"
IDEMPOTENCY_PREFIX = "idempotency/"

# By default, Python collects cycles after 700 new objects: several times for each job, and a tenth of its CPU time.
GC_THRESHOLDS = (10_000, 20, 20)


@dataclass(frozen=True, eq=False)
class Clients:
    """The clients of a process."""

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
    pool: PoolClient
    slot_documents: LeasedDocuments
    slot_status: SlotStatusTable
    scheduler: SlotScheduler
    hours: SessionHours
    admission: Admission
    identity: Identity | None

    @classmethod
    def open(cls, settings: Settings, recipe_file: Recipes, environ: Mapping[str, str]) -> Self:
        """Create the clients; nothing is sent yet. Call it in the event loop that will use them."""
        from pipeline.settings import StorageAccount
        from pipeline.storage import Account, deployment_number

        gc.set_threshold(*GC_THRESHOLDS)
        storage = StorageAccount.load(environ)
        pool, identity = pool_client(settings, storage, environ)
        account = Account.open(storage, identity)
        return cls.compose(settings, recipe_file, account, pool, identity, deployment_number())

    @classmethod
    def compose(
        cls,
        settings: Settings,
        recipe_file: Recipes,
        account: Account,
        pool: PoolClient,
        identity: Identity | None,
        deployment: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Compose the services of a storage account and a session pool, for a process of a deployment.

        The admission of jobs follows `clock`.
        """
        from pipeline import storage
        from pipeline.adhoc_recipes import AdHocRecipes
        from pipeline.jobs.admission import Admission
        from pipeline.jobs.pauses import Pauses
        from pipeline.jobs.session_hours import SessionHours
        from pipeline.pool.scheduler import SlotScheduler
        from pipeline.recipes import adhoc

        run_store = storage.RunStore(account, settings.run_table)
        documents = storage.LeasedDocuments(
            account, settings.state_container, SLOT_PREFIX, settings.slot_lease_duration
        )
        slot_status = storage.SlotStatusTable(account, settings.run_table)
        hours = SessionHours(settings, run_store)
        scheduler = SlotScheduler(settings, documents, pool, slot_status, hours)

        def cost_refusal() -> CostCapReached | None:
            return None if scheduler.has_session else hours.refusal()

        return cls(
            settings=settings,
            recipes=recipe_file,
            adhoc_recipes=AdHocRecipes(
                settings,
                recipe_file,
                storage.DocumentStore(account, settings.state_container, ADHOC_PREFIX),
            ),
            idempotency=storage.DocumentStore(account, settings.state_container, IDEMPOTENCY_PREFIX),
            account=account,
            sources=storage.Sources(account, (settings.input_container, settings.upload_container)),
            renditions=storage.Renditions(account, settings.output_container),
            assets=storage.Assets(account, settings.asset_container),
            ledger=storage.Ledger(
                account, settings.ledger_table, settings.claim_ttl, [*recipe_file.names, adhoc.GROUP], deployment, clock
            ),
            job_queue=storage.JobQueue(account, settings.job_queue, deployment),
            run_queue=storage.JobQueue(account, settings.run_queue, deployment),
            run_store=run_store,
            pool=pool,
            slot_documents=documents,
            slot_status=slot_status,
            scheduler=scheduler,
            hours=hours,
            admission=Admission(Pauses(run_store, clock), settings.requeue_delay, clock, cost_refusal),
            identity=identity,
        )

    async def close(self) -> None:
        """Release the slots and close all connections."""
        await self.scheduler.close()
        await self.ledger.metrics.close()
        await self.pool.close()
        await self.account.close()
        if self.identity:
            await self.identity.close()


def pool_client(
    settings: Settings, storage: StorageAccount, environ: Mapping[str, str]
) -> tuple[PoolClient, Identity | None]:
    """Return the client of the pool, and the identity shared by storage and pool; None if neither needs one."""
    from pipeline.identity import Identity
    from pipeline.pool.auth import PoolToken
    from pipeline.pool.client import PoolClient

    needs_identity = storage.blob_uri is not None or settings.pool_needs_token
    identity = Identity.from_environment(environ, storage.client_id) if needs_identity else None
    return PoolClient(settings, PoolToken(identity) if identity and settings.pool_needs_token else None), identity
