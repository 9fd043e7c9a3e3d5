"""Composition of the parts that execute, dispatch and record jobs."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from pipeline.services.clients import Clients

if TYPE_CHECKING:
    from pipeline.adhoc_recipes import RecipeCatalog
    from pipeline.concurrency import ByteBudget
    from pipeline.jobs.actions import JobActions
    from pipeline.jobs.dead_lettered_events import DeadLetteredEventReader
    from pipeline.jobs.dead_letters import DeadLetterHandler, DeadLetterQueue
    from pipeline.jobs.dispatch import JobDispatcher
    from pipeline.jobs.execution import JobExecutor
    from pipeline.jobs.outcomes import OutcomeRecorder
    from pipeline.jobs.preview import Previewer
    from pipeline.jobs.put_back import UnreadableMessages
    from pipeline.jobs.rendering import Renderer
    from pipeline.storage import JobQueue


class JobServices(Clients):
    """The parts that handle uploads, requests and job messages."""

    @cached_property
    def catalog(self) -> RecipeCatalog:
        """Finds recipes by name, ad-hoc recipes included."""
        from pipeline.adhoc_recipes import RecipeCatalog

        return RecipeCatalog(self.recipes, self.adhoc_recipes)

    @cached_property
    def http_memory(self) -> ByteBudget:
        """Budget for the bodies of HTTP requests and responses."""
        from pipeline.concurrency import ByteBudget

        return ByteBudget(self.settings.http_memory_bytes)

    @cached_property
    def renderer(self) -> Renderer:
        """Renders sources in sessions."""
        from pipeline.jobs.rendering import Renderer

        return Renderer(self.settings, self.scheduler, self.assets, self.admission)

    @cached_property
    def previewer(self) -> Previewer:
        """Renders previews."""
        from pipeline.jobs.preview import Previewer

        return Previewer(self.settings, self.catalog, self.renderer)

    @cached_property
    def executor(self) -> JobExecutor:
        """Executes jobs under a claim."""
        from pipeline.jobs.execution import JobExecutor

        return JobExecutor(self.settings, self.ledger, self.sources, self.renditions, self.renderer)

    @cached_property
    def outcomes(self) -> OutcomeRecorder:
        """Records outcomes of jobs that end without an execution."""
        from pipeline.jobs.outcomes import OutcomeRecorder

        return OutcomeRecorder(self.ledger, self.sources, self.catalog)

    @cached_property
    def dispatcher(self) -> JobDispatcher:
        """Handles uploads and job messages."""
        from pipeline.jobs.dispatch import JobDispatcher

        executor, queue, unreadable = self.executor, self.job_queue, self._unreadable(self.job_queue)
        return JobDispatcher(
            self.settings, self.catalog, self.sources, executor, self.outcomes, queue, self.admission, unreadable
        )

    @cached_property
    def jobs(self) -> JobActions:
        """Submits, retries and dismisses jobs."""
        from pipeline.jobs.actions import JobActions

        return JobActions(self.ledger, self.sources, self.catalog, self.job_queue, self.admission.pauses)

    @cached_property
    def dead_letters(self) -> DeadLetterHandler:
        """Records dead letters of jobs and uploads."""
        from pipeline.jobs.dead_letters import DeadLetterHandler
        from pipeline.settings import BLOB_TRIGGER_POISON_QUEUE

        return DeadLetterHandler(
            self.settings.input_container,
            self.dispatcher,
            self.outcomes,
            self._dead_letter_queue(self.settings.job_poison_queue),
            self._dead_letter_queue(BLOB_TRIGGER_POISON_QUEUE),
        )

    @cached_property
    def dead_lettered_events(self) -> DeadLetteredEventReader:
        """Queues the jobs of dead-lettered events."""
        from pipeline.jobs.dead_lettered_events import DeadLetteredEventReader
        from pipeline.storage import DeadLetterContainer

        return DeadLetteredEventReader(
            self.settings.input_container,
            self.settings.event_subscription,
            DeadLetterContainer(self.account, self.settings.dead_letter_container),
            self.dispatcher,
            self.job_queue,
        )

    def _dead_letter_queue(self, name: str) -> DeadLetterQueue:
        """Return a queue of dead letters."""
        from pipeline.jobs.dead_letters import DeadLetterQueue
        from pipeline.storage import JobQueue

        queue = JobQueue(self.account, name, self.ledger.deployment)
        return DeadLetterQueue(queue, self._unreadable(queue), self.admission.pauses, self.settings.claim_ttl)

    def _unreadable(self, queue: JobQueue) -> UnreadableMessages:
        """Return the handling of unreadable messages of a queue."""
        from pipeline.jobs.put_back import UnreadableMessages

        return UnreadableMessages(queue, self.ledger, self.settings.give_up_after)
