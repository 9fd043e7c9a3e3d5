"""Actions of users on jobs: submit, retry and dismiss."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from pipeline.adhoc_recipes import RecipeCatalog
from pipeline.errors import StateConflict
from pipeline.jobs.pauses import Pauses
from pipeline.storage import Entry, JobKey, JobQueue, Ledger, Message, Sources, State, Version

PAGE_SIZE = 200


@dataclass(frozen=True)
class JobActions:
    """Submit, look up, retry and dismiss jobs."""

    ledger: Ledger
    sources: Sources
    catalog: RecipeCatalog
    queue: JobQueue
    pauses: Pauses

    async def get(self, key: JobKey) -> Entry:
        """Return the row of a job. Raises StateConflict of kind `unknown_job` if there is none."""
        entry = await self.ledger.get(key)
        if entry is None:
            raise StateConflict(f"there is no job {key.id[:200]}", kind="unknown_job")
        return entry

    async def submit(self, message: Message) -> JobKey:
        """Queue a job, and list it as queued unless it has a row already.

        Raises:
            JobSuperseded: The source does not exist.
            RecipeError: The recipe does not exist.
            OutdatedDeployment: The version of this process is below the minimum version.
        """
        entry = await self._new_entry(message)
        # The message is sent first: a row that says `queued` without a message would wait forever.
        await self.queue.send(message)
        await self.ledger.enqueue(entry)
        return entry.key

    async def list_queued(self, message: Message) -> None:
        """List a job that has a message as queued, unless it has a row already. Raises as `submit` does."""
        await self.ledger.enqueue(await self._new_entry(message))

    async def retry(self, key: JobKey) -> Entry:
        """Queue a job again, regardless of its last outcome.

        Returns:
            The job's row after the change, or as another worker has changed it meanwhile.

        Raises:
            StateConflict: The job is running, or has been queued for less than an hour.
            JobSuperseded: The source no longer exists.
            RecipeError: The recipe no longer exists.
            OutdatedDeployment: The version of this process is below the minimum version.
        """
        entry = await self.get(key)
        if entry.is_active:
            raise StateConflict(f"job {key.id} is {entry.state} already", kind=f"job_{entry.state}")
        version = await self._version(key.recipe, entry.container, entry.name)
        # The message is sent first: a row that says `queued` without a message would wait forever.
        message = Message(
            recipe=key.recipe, container=entry.container, name=entry.name, again=True, seen=entry.generation
        )
        await self.queue.send(message)
        return await self._transition(entry, "queued", version)

    async def retry_failures(self, *, recipe: str | None = None, kind: str = "", prefix: str = "") -> int:
        """Retry all failures of a recipe, of an error kind, or of sources with a prefix. Returns their number."""
        count = 0
        async for entry in self.failures(recipe=recipe, kind=kind, prefix=prefix):
            with suppress(StateConflict):
                await self.retry(entry.key)
                count += 1
        return count

    async def failures(self, *, recipe: str | None = None, kind: str = "", prefix: str = "") -> AsyncIterator[Entry]:
        """Yield the failures that match all given filters, newest first, without those recorded meanwhile."""
        cursor = ""
        while True:
            entries, cursor = await self.ledger.page(recipe=recipe, state="failed", limit=PAGE_SIZE, cursor=cursor)
            for entry in entries:
                if kind in ("", entry.error_kind) and entry.name.startswith(prefix):
                    yield entry
            if not cursor:
                return

    async def dismiss(self, key: JobKey) -> Entry:
        """Dismiss a failure, or cancel a queued job; its row stays in the state `dismissed`.

        Raises StateConflict if the job is done or running.
        """
        entry = await self.get(key)
        if entry.state == "dismissed":
            return entry
        if entry.is_running or entry.state == "done":
            raise StateConflict(
                f"job {key.id} is {entry.state}: only failed and queued jobs can be dismissed",
                kind=f"job_{entry.state}",
            )
        return await self._transition(entry, "dismissed", entry.version)

    async def _new_entry(self, message: Message) -> Entry:
        """Return the first row of a job."""
        key = JobKey.of(message.recipe, message.container, message.name)
        version = await self._version(message.recipe, message.container, message.name)
        return Entry(key, message.container, message.name, state="queued", version=version)

    async def _version(self, recipe: str, container: str, name: str) -> Version:
        await self.pauses.ensure_version()
        source = await self.sources.stat(container, name)
        return Version(source.etag, (await self.catalog.get(recipe)).hash)

    async def _transition(self, entry: Entry, state: State, version: Version) -> Entry:
        """Change the state of a job; return its row, or the row that another worker has written meanwhile."""
        changed = await self.ledger.transition(entry, state, version)
        return changed or await self.get(entry.key)
