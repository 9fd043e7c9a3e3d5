"""Record the outcome of a job that ends without an execution: a failure, or a superseded source."""

from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Final

from pipeline.adhoc_recipes import RecipeCatalog
from pipeline.errors import JobSuperseded, PermanentError, PipelineError, RecipeError, SourceError, TransientError
from pipeline.jobs.current_version import for_current_version
from pipeline.storage import Claim, ClaimOptions, Entry, JobKey, Ledger, Message, Sources, Version
from pipeline.telemetry import logger

log = logger(__name__)
GONE_KINDS: Final = ("source_gone", "folder_marker")


@dataclass(frozen=True)
class OutcomeRecorder:
    """Write outcomes to the ledger, without overwriting the result of another worker."""

    ledger: Ledger
    sources: Sources
    catalog: RecipeCatalog

    async def record_failure(
        self, message: Message, error: PermanentError | TransientError, run: str = "", *, force: bool = False
    ) -> Entry:
        """Record that a job cannot be done, or has used up its attempts. The source need not be readable.

        With `force`, record it also if only a newer deployment may process the job.

        Returns:
            The job's row: the recorded failure, or the row of another worker that has executed the job or holds its
            claim by now.

        Raises:
            JobSuperseded: The source is gone.
            SourceChanged: The source keeps changing.
            OutdatedDeployment: Only a newer deployment may process the job.
            TransientError: Storage is unavailable; nothing is recorded.
        """
        claim = await for_current_version(partial(self._claim, message, run, force=force))
        if isinstance(claim, Entry):
            return claim
        if isinstance(error, PermanentError):
            log.warning("failed: %s", error, extra={"event": "job.failed", "kind": error.kind})
            return await claim.fail(error, "claim")
        attempts = message.attempt + 1
        used_up = (
            f"{message.service_seconds / 3600:.1f} h of faults of this service"
            if error.service
            else f"{attempts} attempts"
        )
        log.error("failed after %s: %s", used_up, error, extra={"event": "job.failed", "kind": error.kind})
        final = copy(error)  # the jobs of a microbatch share the error
        final.message = f"{error.message}; given up after {used_up}"
        return await claim.fail(final, "queue")

    async def list_waiting(self, message: Message, error: PipelineError) -> None:
        """List a job that waits for its next attempt as queued, with the error, unless it has a row.

        Its source may not be readable, so the row names no version of it. Raises TransientError if storage is
        unavailable.
        """
        key = JobKey.of(message.recipe, message.container, message.name)
        waiting = Entry(
            key,
            message.container,
            message.name,
            state="queued",
            version=Version("", await self._recipe_hash(message.recipe, key)),
            error_kind=error.kind,
            error_class=type(error).__name__,
            error_message=error.message,
            error_service=getattr(error, "dependency", ""),
            service_seconds=message.service_seconds,
        )
        await self.ledger.enqueue(waiting)

    async def fail_message(self, body: bytes, error: PipelineError) -> bool:
        """Record the failure of the job that a message names, unreadable or not; return False if it names none."""
        message = Message.salvage(body)
        if message is None:
            return False
        await self.record_failure(message, PermanentError(error.message, kind=error.kind), force=True)
        return True

    async def _claim(self, message: Message, run: str, *, force: bool) -> Claim | Entry:
        """Claim the job for the current version of its source."""
        place = (message.container, message.name)
        key = JobKey.of(message.recipe, *place)
        etag = await self._etag(*place)
        version = Version(etag, await self._recipe_hash(message.recipe, key))

        async def current() -> bool:
            return await self._etag(*place) == etag

        # The claim makes sure that the result of another worker stands.
        options = ClaimOptions(again=message.again, seen=message.seen, run=run, expected=True, force=force)
        return await self.ledger.claim(key, place, version, current, options)

    async def mark_superseded(self, message: Message, error: JobSuperseded) -> bool:
        """Mark a job whose source is gone as superseded, if no worker can still finish it.

        A claim that has expired belongs to a dead worker only if the source is gone; otherwise the worker may be slow
        and about to finish.

        Returns:
            True if a worker may still finish the job; the caller checks again after the claim expires.
        """
        entry = await self.ledger.get(JobKey.of(message.recipe, message.container, message.name))
        if entry and entry.state == "running" and (entry.is_running or error.kind not in GONE_KINDS):
            return True
        if entry and entry.state in ("queued", "running") and error.kind in GONE_KINDS:
            await self.ledger.transition(entry, "superseded")
        return False

    async def _etag(self, container: str, name: str) -> str:
        """Return the ETag of a source, also of one whose properties cannot be read. Raises JobSuperseded if it is gone.

        Storage refuses even the properties of a blob with a customer-provided key, and lists it all the same. A 404
        without an error code does not prove that a blob is gone; the listing does.
        """
        try:
            return (await self.sources.stat(container, name)).etag
        except (SourceError, TransientError) as error:
            if isinstance(error, TransientError) and error.service:
                raise
            return (await self.sources.find(container, name)).etag

    async def _recipe_hash(self, recipe: str, key: JobKey) -> str:
        """Return the recipe's hash; for a recipe unknown to this process, the hash in the job's row."""
        try:
            return (await self.catalog.get(recipe)).hash
        except RecipeError:
            entry = await self.ledger.get(key)
            return entry.version.recipe_hash if entry else ""
