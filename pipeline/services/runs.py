"""Composition of the parts that plan and execute runs, and of the maintenance."""

from __future__ import annotations

import asyncio
from functools import cached_property, partial
from typing import TYPE_CHECKING

from pipeline.services.clients import ADHOC_PREFIX
from pipeline.services.jobs import JobServices

if TYPE_CHECKING:
    from pipeline.runs.active_recipes import ActiveRecipes
    from pipeline.runs.dead_letters import RunDeadLetterHandler
    from pipeline.runs.estimates import Estimator
    from pipeline.runs.ledger_rebuild import LedgerRebuild
    from pipeline.runs.ledger_reshard import LedgerReshard
    from pipeline.runs.lifecycle import RunController
    from pipeline.runs.lost_messages import LostMessageRecovery
    from pipeline.runs.orphans import OrphanCollector
    from pipeline.runs.planning import RunPlanner
    from pipeline.runs.retention import Retention
    from pipeline.runs.scheduled_start import RunSchedule
    from pipeline.runs.selection import JobFinder
    from pipeline.runs.worker import ItemExecutor, RunWorker


class RunServices(JobServices):
    """The parts that handle runs, and those that timers call."""

    @cached_property
    def estimator(self) -> Estimator:
        """Estimates duration and cost of jobs."""
        from pipeline.runs.estimates import Estimator

        return Estimator(self.settings, self.recipes, self.ledger.metrics)

    @cached_property
    def job_finder(self) -> JobFinder:
        """Finds due jobs."""
        from pipeline.runs.selection import JobFinder

        return JobFinder(self.settings.input_container, self.recipes, self.ledger, self.sources, self.renditions)

    @cached_property
    def planner(self) -> RunPlanner:
        """Makes plans of runs."""
        from pipeline.runs.planning import RunPlanner

        return RunPlanner(self.run_store, self.job_finder, self.estimator, self.run_queue)

    @cached_property
    def runs(self) -> RunController:
        """Starts, cancels and resumes runs."""
        from pipeline.runs.caps import RunCaps
        from pipeline.runs.lifecycle import RunController
        from pipeline.runs.records import RunRecords

        return RunController(
            self.settings,
            RunRecords(self.run_store),
            self.run_queue,
            self.job_finder,
            self.planner,
            RunCaps(self.settings, self.job_finder, self.estimator),
            self.admission.pauses,
            self.hours,
        )

    @cached_property
    def schedule(self) -> RunSchedule:
        """Starts the scheduled runs."""
        from pipeline.runs.scheduled_start import RunSchedule

        return RunSchedule(self.runs, self.active_recipes)

    @cached_property
    def run_items(self) -> ItemExecutor:
        """Executes single jobs of runs."""
        from pipeline.runs.worker import ItemExecutor

        slots = asyncio.Semaphore(self.settings.run_concurrency)
        return ItemExecutor(self.settings, self.recipes, self.executor, self.outcomes, slots, self.admission)

    @cached_property
    def run_worker(self) -> RunWorker:
        """Handles run messages."""
        from pipeline.runs.fan_out import FanOut
        from pipeline.runs.worker import RunWorker

        fan_out = FanOut(self.settings, self.run_store, self.run_queue, self.job_finder, self.runs)
        return RunWorker(
            self.settings,
            self.run_store,
            self.run_queue,
            self.runs,
            fan_out,
            self.run_items,
            self.admission,
            self.planner,
            self.run_dead_letters.fail_message,
        )

    @cached_property
    def run_dead_letters(self) -> RunDeadLetterHandler:
        """Records dead letters of runs."""
        from pipeline.runs.dead_letters import RunDeadLetterHandler

        dead_letters = self._dead_letter_queue(self.settings.run_poison_queue)
        return RunDeadLetterHandler(self.run_store, self.runs, self.run_items, dead_letters, self.run_queue)

    @cached_property
    def lost_messages(self) -> LostMessageRecovery:
        """Sends the messages of lost queues again."""
        from pipeline.jobs.lost_messages import JobMessageRecovery
        from pipeline.recipes import adhoc
        from pipeline.runs.lost_messages import LostMessageRecovery, waits_in_run
        from pipeline.storage import JobQueue, QueueIncarnations, WaitingJobs

        settings, account = self.settings, self.account
        jobs = JobMessageRecovery(
            WaitingJobs(account, settings.ledger_table, self.ledger.shards, [*self.recipes.names, adhoc.GROUP]),
            self.job_queue,
            JobQueue(account, settings.job_poison_queue),
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
            self.schedule,
            self.run_queue,
            JobQueue(account, settings.run_poison_queue),
        )

    @cached_property
    def active_recipes(self) -> ActiveRecipes:
        """Stores and compares the active recipe versions."""
        from pipeline.runs.active_recipes import ActiveRecipes

        return ActiveRecipes(self.run_store, self.recipes, self.ledger.deployment)

    @cached_property
    def ledger_reshard(self) -> LedgerReshard:
        """Spreads the rows of the ledger over another number of shards."""
        from pipeline.runs.ledger_reshard import LedgerReshard
        from pipeline.storage import ShardMoves

        moves = ShardMoves(self.account, self.settings.ledger_table)
        return LedgerReshard(self.ledger, moves, self.admission.pauses, self.settings.claim_ttl)

    @cached_property
    def ledger_rebuild(self) -> LedgerRebuild:
        """Rebuilds a lost ledger."""
        from pipeline.runs.ledger_rebuild import LedgerRebuild

        return LedgerRebuild(self.ledger, self.sources, self.renditions, self.catalog, self.active_recipes)

    @cached_property
    def orphans(self) -> OrphanCollector:
        """Finds and deletes orphans."""
        from pipeline.runs.orphans import OrphanCollector

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
        from pipeline.runs.retention import Retention
        from pipeline.runs.retention_tasks import job_tasks, run_tasks
        from pipeline.storage import DocumentStore, EndedJobs

        adhoc_recipes = DocumentStore(self.account, self.settings.state_container, ADHOC_PREFIX)
        jobs = EndedJobs(self.account, self.settings.ledger_table, self.ledger)
        tasks = (
            *run_tasks(self.settings, self.run_store, self.ledger.metrics),
            *job_tasks(self.settings, jobs, self.sources, self.recipes, adhoc_recipes, self.idempotency),
        )
        return Retention(self.run_store, self.active_recipes, tasks)
