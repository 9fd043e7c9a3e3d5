"""Composition root: the dependency container of a process.

`Services` creates the clients, and builds the objects that do the work from the parts they use. Only the edges hold the
container: function triggers, routes and commands. Everything below takes its collaborators instead.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Self

from pipeline import telemetry
from pipeline.adhoc_recipes import AdHocRecipes, RecipeCatalog
from pipeline.concurrency import ByteBudget
from pipeline.identity import Identity
from pipeline.jobs.actions import JobActions
from pipeline.jobs.admission import Admission
from pipeline.jobs.dead_lettered_events import DeadLetteredEventReader
from pipeline.jobs.dead_letters import (
    BLOB_TRIGGER_POISON_QUEUE,
    POISON_QUEUE_SUFFIX,
    DeadLetterHandler,
    DeadLetterQueue,
)
from pipeline.jobs.dispatch import JobDispatcher
from pipeline.jobs.execution import JobExecutor
from pipeline.jobs.lost_messages import JobMessageRecovery
from pipeline.jobs.outcomes import OutcomeRecorder
from pipeline.jobs.pauses import Pauses
from pipeline.jobs.preview import Previewer
from pipeline.jobs.put_back import UnreadableMessages
from pipeline.jobs.rendering import Renderer
from pipeline.monitoring.health import HealthMonitor
from pipeline.monitoring.pool_overview import PoolMonitor, StatisticsCollector
from pipeline.pool import engine_bundle
from pipeline.pool.auth import PoolToken
from pipeline.pool.client import PoolClient
from pipeline.pool.scheduler import SlotScheduler
from pipeline.recipes import Recipes, adhoc, load_recipes
from pipeline.runs.active_recipes import ActiveRecipes
from pipeline.runs.dead_letters import RunDeadLetterHandler
from pipeline.runs.estimates import Estimator
from pipeline.runs.fan_out import FanOut
from pipeline.runs.ledger_rebuild import LedgerRebuild
from pipeline.runs.lifecycle import RunController
from pipeline.runs.lost_messages import LostMessageRecovery, waits_in_run
from pipeline.runs.orphans import OrphanCollector
from pipeline.runs.planning import RunPlanner
from pipeline.runs.retention import Retention
from pipeline.runs.retention_tasks import job_tasks, run_tasks
from pipeline.runs.selection import JobFinder
from pipeline.runs.worker import ItemExecutor, RunWorker
from pipeline.settings import Settings, StorageAccount
from pipeline.storage import (
    Account,
    Assets,
    DeadLetterContainer,
    DocumentStore,
    EndedJobs,
    JobQueue,
    LeasedDocuments,
    Ledger,
    QueueIncarnations,
    Renditions,
    RunStore,
    SlotStatusTable,
    Sources,
    WaitingJobs,
    deployment_number,
)

SLOT_PREFIX = "slots/"
ADHOC_PREFIX = "adhoc/"
IDEMPOTENCY_PREFIX = "idempotency/"

# By default, Python collects cycles after 700 new objects: several times for each job, and a tenth of its CPU time.
GC_THRESHOLDS = (10_000, 20, 20)


@dataclass(frozen=True, eq=False)
class Services:
    """The clients of a process, and the objects built from them. Each of those is built at its first use."""

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
    admission: Admission
    identity: Identity | None

    @classmethod
    def open(cls, settings: Settings, recipe_file: Recipes, environ: Mapping[str, str]) -> Self:
        """Create the clients; nothing is sent yet. Call it in the event loop that will use them."""
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
        run_store = RunStore(account, settings.run_table)
        documents = LeasedDocuments(account, settings.state_container, SLOT_PREFIX, settings.slot_lease_duration)
        slot_status = SlotStatusTable(account, settings.run_table)
        return cls(
            settings=settings,
            recipes=recipe_file,
            adhoc_recipes=AdHocRecipes(
                settings,
                recipe_file,
                DocumentStore(account, settings.state_container, ADHOC_PREFIX),
            ),
            idempotency=DocumentStore(account, settings.state_container, IDEMPOTENCY_PREFIX),
            account=account,
            sources=Sources(account, (settings.input_container, settings.upload_container)),
            renditions=Renditions(account, settings.output_container),
            assets=Assets(account, settings.asset_container),
            ledger=Ledger(
                account, settings.ledger_table, settings.claim_ttl, [*recipe_file.names, adhoc.GROUP], deployment
            ),
            job_queue=JobQueue(account, settings.job_queue, deployment),
            run_queue=JobQueue(account, settings.run_queue, deployment),
            run_store=run_store,
            pool=pool,
            slot_documents=documents,
            slot_status=slot_status,
            scheduler=SlotScheduler(settings, documents, pool, slot_status),
            admission=Admission(Pauses(run_store, clock), settings.requeue_delay, clock),
            identity=identity,
        )

    @cached_property
    def catalog(self) -> RecipeCatalog:
        """Finds recipes by name, ad-hoc recipes included."""
        return RecipeCatalog(self.recipes, self.adhoc_recipes)

    @cached_property
    def http_memory(self) -> ByteBudget:
        """Budget for the bodies of HTTP requests and responses."""
        return ByteBudget(self.settings.http_memory_bytes)

    @cached_property
    def renderer(self) -> Renderer:
        """Renders sources in sessions."""
        return Renderer(self.settings, self.scheduler, self.assets, self.admission)

    @cached_property
    def previewer(self) -> Previewer:
        """Renders previews."""
        return Previewer(self.settings, self.catalog, self.renderer)

    @cached_property
    def executor(self) -> JobExecutor:
        """Executes jobs under a claim."""
        return JobExecutor(self.settings, self.ledger, self.sources, self.renditions, self.renderer)

    @cached_property
    def outcomes(self) -> OutcomeRecorder:
        """Records outcomes of jobs that end without an execution."""
        return OutcomeRecorder(self.ledger, self.sources, self.catalog)

    @cached_property
    def dispatcher(self) -> JobDispatcher:
        """Handles uploads and job messages."""
        executor, queue, unreadable = self.executor, self.job_queue, self._unreadable(self.job_queue)
        return JobDispatcher(
            self.settings, self.catalog, self.sources, executor, self.outcomes, queue, self.admission, unreadable
        )

    @cached_property
    def jobs(self) -> JobActions:
        """Submits, retries and dismisses jobs."""
        return JobActions(self.ledger, self.sources, self.catalog, self.job_queue, self.admission.pauses)

    @cached_property
    def dead_letters(self) -> DeadLetterHandler:
        """Records dead letters of jobs and uploads."""
        return DeadLetterHandler(
            self.settings.input_container,
            self.dispatcher,
            self.outcomes,
            self._dead_letter_queue(self.settings.job_queue + POISON_QUEUE_SUFFIX),
            self._dead_letter_queue(BLOB_TRIGGER_POISON_QUEUE),
        )

    @cached_property
    def dead_lettered_events(self) -> DeadLetteredEventReader:
        """Queues the jobs of dead-lettered events."""
        return DeadLetteredEventReader(
            self.settings.input_container,
            self.settings.event_subscription,
            DeadLetterContainer(self.account, self.settings.dead_letter_container),
            self.dispatcher,
            self.job_queue,
        )

    @cached_property
    def estimator(self) -> Estimator:
        """Estimates duration and cost of jobs."""
        return Estimator(self.settings, self.recipes, self.ledger.metrics)

    @cached_property
    def job_finder(self) -> JobFinder:
        """Finds due jobs."""
        return JobFinder(self.settings.input_container, self.recipes, self.ledger, self.sources, self.renditions)

    @cached_property
    def planner(self) -> RunPlanner:
        """Makes plans of runs."""
        return RunPlanner(self.run_store, self.job_finder, self.estimator)

    @cached_property
    def runs(self) -> RunController:
        """Starts, cancels and resumes runs."""
        return RunController(
            self.settings,
            self.run_store,
            self.run_queue,
            self.job_finder,
            self.estimator,
            self.planner,
            self.admission.pauses,
        )

    @cached_property
    def run_items(self) -> ItemExecutor:
        """Executes single jobs of runs."""
        slots = asyncio.Semaphore(self.settings.run_concurrency)
        return ItemExecutor(self.settings, self.recipes, self.executor, self.outcomes, slots, self.admission)

    @cached_property
    def run_worker(self) -> RunWorker:
        """Handles run messages."""
        fan_out = FanOut(self.settings, self.run_store, self.run_queue, self.job_finder, self.runs)
        return RunWorker(
            self.settings,
            self.run_store,
            self.run_queue,
            self.runs,
            fan_out,
            self.run_items,
            self.admission,
            self.run_dead_letters.fail_message,
        )

    @cached_property
    def run_dead_letters(self) -> RunDeadLetterHandler:
        """Records dead letters of runs."""
        dead_letters = self._dead_letter_queue(self.settings.run_queue + POISON_QUEUE_SUFFIX)
        return RunDeadLetterHandler(self.run_store, self.runs, self.run_items, dead_letters, self.run_queue)

    @cached_property
    def lost_messages(self) -> LostMessageRecovery:
        """Sends the messages of lost queues again."""
        settings, account = self.settings, self.account
        jobs = JobMessageRecovery(
            WaitingJobs(account, settings.ledger_table, [*self.recipes.names, adhoc.GROUP]),
            self.job_queue,
            JobQueue(account, settings.job_queue + POISON_QUEUE_SUFFIX),
            (settings.input_container, settings.upload_container),
            settings.upload_container,
            settings.claim_ttl,
            partial(waits_in_run, self.run_store),
        )
        return LostMessageRecovery(
            QueueIncarnations(account, self.run_store),
            jobs,
            self.run_store,
            self.runs,
            self.run_queue,
            JobQueue(account, settings.run_queue + POISON_QUEUE_SUFFIX),
        )

    @cached_property
    def active_recipes(self) -> ActiveRecipes:
        """Stores and compares the active recipe versions."""
        return ActiveRecipes(self.run_store, self.recipes, self.ledger.deployment)

    @cached_property
    def ledger_rebuild(self) -> LedgerRebuild:
        """Rebuilds a lost ledger."""
        return LedgerRebuild(self.ledger, self.sources, self.renditions, self.catalog, self.active_recipes)

    @cached_property
    def orphans(self) -> OrphanCollector:
        """Finds and deletes orphans."""
        return OrphanCollector(
            self.settings.upload_container,
            self.ledger,
            self.sources,
            self.renditions,
            self.recipes,
            self.active_recipes,
        )

    @cached_property
    def retention(self) -> Retention:
        """Deletes old bookkeeping."""
        adhoc_recipes = DocumentStore(self.account, self.settings.state_container, ADHOC_PREFIX)
        jobs = EndedJobs(self.account, self.settings.ledger_table, self.ledger)
        tasks = (
            *run_tasks(self.settings, self.run_store, self.ledger.metrics),
            *job_tasks(self.settings, jobs, self.sources, self.recipes, adhoc_recipes, self.idempotency),
        )
        return Retention(self.run_store, self.active_recipes, tasks)

    @cached_property
    def pool_monitor(self) -> PoolMonitor:
        """Reads the state of the slots, and recycles them."""
        return PoolMonitor(self.settings, self.slot_documents, self.slot_status, self.scheduler, self.pool)

    @cached_property
    def health(self) -> HealthMonitor:
        """Checks the dependencies."""
        return HealthMonitor(self.settings, self.account, self.ledger, self.run_store, self.pool, self.admission)

    @cached_property
    def statistics(self) -> StatisticsCollector:
        """Collects statistics."""
        return StatisticsCollector(self.ledger.metrics, self.job_queue, self.run_queue, self.pool_monitor)

    def _dead_letter_queue(self, name: str) -> DeadLetterQueue:
        queue = JobQueue(self.account, name, self.ledger.deployment)
        return DeadLetterQueue(queue, self._unreadable(queue), self.admission.pauses, self.settings.claim_ttl)

    def _unreadable(self, queue: JobQueue) -> UnreadableMessages:
        return UnreadableMessages(queue, self.ledger, self.settings.give_up_after)

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
    needs_identity = storage.blob_uri is not None or settings.pool_needs_token
    identity = Identity.from_environment(environ, storage.client_id) if needs_identity else None
    return PoolClient(settings, PoolToken(identity) if identity and settings.pool_needs_token else None), identity


class ServicesProvider:
    """Provide the services of this process, opened at first use: clients belong to the event loop they are created in.

    Settings and recipes are loaded at once, so that the app fails at its start if they are invalid.
    """

    def __init__(self, environ: Mapping[str, str], *, ignore_unknown_settings: bool = False) -> None:
        """Load settings and recipes from `environ`. Raises ConfigError if they are invalid."""
        telemetry.quiet_libraries()
        self._environ = environ
        self.settings = Settings.load(environ, ignore_unknown=ignore_unknown_settings)
        self.recipes = load_recipes(self.settings)
        engine_bundle.build()
        self._services: Services | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def services(self) -> Services:
        """Return the services of the running event loop."""
        loop = asyncio.get_running_loop()
        if self._services is None or self._loop is not loop:
            self._services, self._loop = Services.open(self.settings, self.recipes, self._environ), loop
        return self._services
