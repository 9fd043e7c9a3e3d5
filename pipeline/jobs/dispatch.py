"""Dispatch uploads and queue messages to the executor: retries, backpressure, and takeover from dead workers."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from pipeline.adhoc_recipes import RecipeCatalog
from pipeline.errors import (
    JobPaused,
    JobSuperseded,
    OutdatedDeployment,
    PermanentError,
    PipelineError,
    PoolFull,
    RecipeError,
    SourceChanged,
    TransientError,
    Unreadable,
)
from pipeline.jobs.admission import Admission
from pipeline.jobs.execution import UPLOAD_POLICY, JobExecutor
from pipeline.jobs.outcomes import OutcomeRecorder
from pipeline.jobs.put_back import UnreadableMessages, leave_to_newer
from pipeline.jobs.recovery_message import RecoveryMessage
from pipeline.jobs.rendering import SchedulingPolicy
from pipeline.jobs.retry_policy import Retry, deferral_delay, log_retry, pause, plan_retry, retry_delay
from pipeline.recipes import Recipe
from pipeline.settings import Settings
from pipeline.storage import ClaimOptions, Entry, JobKey, JobQueue, Message, Sources
from pipeline.telemetry import continue_trace, job_log_context, logger

log = logger(__name__)


@dataclass(frozen=True)
class JobDispatcher:
    """Execute the jobs of uploads and messages; requeue a job that cannot be done now, or record its failure."""

    settings: Settings
    catalog: RecipeCatalog
    sources: Sources
    executor: JobExecutor
    outcomes: OutcomeRecorder
    queue: JobQueue | RecoveryMessage
    admission: Admission
    unreadable: UnreadableMessages

    async def handle_blob(self, container: str, name: str) -> None:
        """Execute the jobs of all recipes that match a new or changed source.

        One failing job does not stop the others. Raises the first error that could not be recorded.
        """
        input_container = self.settings.input_container
        if container != input_container:
            log.warning(
                "%s/%s is not in the input container; give the Event Grid subscription the subject filter "
                "/blobServices/default/containers/%s/",
                container,
                name,
                input_container,
                extra={"event": "source.ignored"},
            )
            return
        try:
            recipes = await self.matching_recipes(container, name)
        except JobSuperseded as error:
            log.info("superseded: %s", error, extra={"event": "source.superseded"})
            return
        if not recipes:
            log.info("no recipe matches %s", name, extra={"event": "source.unmatched"})
        messages = [Message(recipe=recipe.name, container=container, name=name) for recipe in recipes]
        executions = [self.execute_message(message, expected=False) for message in messages]
        results = await asyncio.gather(*executions, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def matching_recipes(self, container: str, name: str) -> list[Recipe]:
        """Return the recipes that match a source. Its properties are read only if a rule needs its size or type."""
        recipes = self.catalog.file.match(name)
        if not any(recipe.matches_on_properties for recipe in recipes):
            return recipes
        facts = await self.sources.stat(container, name)
        return self.catalog.file.match(name, size=facts.size, content_type=facts.content_type)

    async def handle_message(self, body: bytes) -> None:
        """Execute the job of a queue message. A message that this version cannot read is put back with a pause."""
        try:
            message = Message.parse(body)
        except Unreadable as error:
            await self.unreadable.put_back(body, error, partial(self.outcomes.fail_message, body, error))
            return
        with continue_trace(message.traceparent):
            await self.execute_message(message)

    async def execute_message(
        self, message: Message, policy: SchedulingPolicy = UPLOAD_POLICY, *, expected: bool = True
    ) -> Entry | None:
        """Execute a job; requeue it if it cannot be done now, or record a failure after the last attempt.

        The job of a message is `expected` to have a row; that of an event is probably new.

        If another worker holds the claim, the message is queued again for the time at which that claim expires: this
        delivery may be all that is left of the job if the other worker has died.

        Returns:
            The job's row, or None if the job was requeued, failed or is superseded.

        Raises:
            PipelineError: Even the outcome could not be written; the host's redelivery of the message keeps the job.
        """
        started = time.monotonic()
        with job_log_context(JobKey.of(message.recipe, message.container, message.name).id):
            try:
                return await self._execute(message, policy, expected=expected)
            except (JobPaused, PoolFull, SourceChanged, OutdatedDeployment) as error:
                await self._defer(message, error)
            except (TransientError, RecipeError) as error:
                # After a RecipeError a deployment may be about to replace this process by one that knows the recipe.
                await self._requeue_or_fail(message, error, time.monotonic() - started)
            except PipelineError:
                raise
            except Exception as error:  # the boundary: a bug must not lose a job
                log.exception("internal error: the job is retried", extra={"event": "job.crashed"})
                await self._requeue_or_fail(message, internal_error(error), time.monotonic() - started)
        return None

    async def _execute(self, message: Message, policy: SchedulingPolicy, *, expected: bool) -> Entry | None:
        """Execute a job once. Raises PipelineError unless the job has ended or another worker holds its claim."""
        try:
            async with self.admission.admitted_message(message):
                recipe = await self.catalog.get(message.recipe)
                entry = await self.executor.execute(
                    message.container,
                    message.name,
                    recipe,
                    policy=policy,
                    history=message,
                    options=ClaimOptions(again=message.again, seen=message.seen, expected=expected),
                )
            if entry.state == "running":
                log.info(
                    "another worker holds the claim; checking again in %d s",
                    self.settings.claim_ttl,
                    extra={"event": "job.claimed_elsewhere"},
                )
                await self.queue.send(message, self.settings.claim_ttl)
            return entry  # noqa: TRY300 - the handlers below are the other outcomes
        except JobSuperseded as error:
            await self._supersede(message, error)
        except RecipeError:
            raise
        except PermanentError as error:
            await self._record_failure(message, error)
        return None

    async def _defer(self, message: Message, error: JobPaused | PoolFull | SourceChanged | OutdatedDeployment) -> None:
        """Requeue a job that a pause, a full pool, a changing source or a newer deployment delays: not an attempt."""
        if isinstance(error, JobPaused):
            log.info("paused: %s", error, extra={"event": "job.paused"})
            if await self.admission.pauses.outdated() is None:  # such an instance writes nothing
                message = await self._listed(message, error)
            await self.queue.send(message, error.retry_after)
        elif isinstance(error, PoolFull):
            log.info("deferred, the pool is full: %s", error, extra={"event": "job.deferred"})
            await self.queue.send(message, deferral_delay(self.settings, error))
        elif isinstance(error, SourceChanged):
            changes = message.changes + 1
            log.info("deferred, the source keeps changing: %s", error, extra={"event": "job.source_changing"})
            await self.queue.send(message.model_copy(update={"changes": changes}), retry_delay(self.settings, changes))
        elif left := leave_to_newer(message, error, self.settings.give_up_after):
            await self.queue.send(*left)
        else:
            failure = PermanentError(error.message, kind=error.kind)
            await self._record_failure(message, failure, force=True)

    async def _supersede(self, message: Message, error: JobSuperseded) -> None:
        """Mark the job as superseded; check again later if a worker may still finish it."""
        log.info("superseded: %s", error, extra={"event": "job.superseded", "kind": error.kind})
        if await self.outcomes.mark_superseded(message, error):
            await self.queue.send(message, self.settings.claim_ttl)

    async def _record_failure(
        self, message: Message, error: PermanentError | TransientError, *, force: bool = False
    ) -> None:
        try:
            await self.outcomes.record_failure(message, error, force=force)
        except JobSuperseded as superseded:
            await self._supersede(message, superseded)
        except (OutdatedDeployment, SourceChanged) as delayed:
            await self._defer(message, delayed)

    async def _requeue_or_fail(self, message: Message, error: TransientError | RecipeError, elapsed: float) -> None:
        """Queue the next attempt; after the last one, record the failure, or requeue if that is impossible now."""
        retry = plan_retry(self.settings, message, error, elapsed)
        if retry is None:
            try:
                await self._record_failure(message, error)
            except TransientError as unrecorded:
                log.warning(
                    "the failure cannot be recorded now: %s", unrecorded, extra={"event": "job.failure_unrecorded"}
                )
                retry = Retry(message, pause(self.settings, message.service_seconds))
            else:
                return
        log_retry(retry, error)
        following = retry.message
        first = message.attempt == 0 and message.service_seconds == 0
        # While storage does not respond, one try is enough.
        if isinstance(error, TransientError) and (first or error.dependency == "pool"):
            following = await self._listed(following, error)
        await self.queue.send(following, retry.delay)

    async def _listed(self, message: Message, error: PipelineError) -> Message:
        """List a waiting job as queued, unless it has a row; return its message, which knows that.

        A job that waits before its first claim has no row: no list would show it, and the loss of its message would not
        be noticed.
        """
        if not message.listed:
            with suppress(PipelineError):
                await self.outcomes.list_waiting(message, error)
                return message.model_copy(update={"listed": True})
        return message


def internal_error(error: Exception) -> TransientError:
    """Return the error to record for a bug; the log has its traceback."""
    return TransientError(f"internal error ({type(error).__name__}); the log has the details", kind="internal")
