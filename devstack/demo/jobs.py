"""The jobs of the demo: plan them, upload their photos, follow them in the ledger, download their renditions."""

import asyncio
import mimetypes
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from devstack.demo.photos import Photo
from devstack.errors import DevstackError
from pipeline.errors import PipelineError
from pipeline.recipes import Recipe, load_recipes
from pipeline.services import Services
from pipeline.settings import Settings
from pipeline.storage import Entry, JobKey, Message

POLL_INTERVAL_SECONDS = 0.2
# Longer than the longest delay between two attempts of a job.
STALL_TIMEOUT_SECONDS = 180.0
CONCURRENT_UPLOADS = 8


@dataclass
class Job:
    """One photo and one recipe. `seconds` is the time from the start of the upload to the last ledger change."""

    photo: Photo
    recipe: Recipe
    key: JobKey
    upload_started: float = 0.0
    seconds: float = 0.0
    entry: Entry | None = None
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """True if the job has reached a final state."""
        return self.state in ("done", "failed", "superseded")

    @property
    def state(self) -> str:
        """The state in the ledger; `waiting` before the job is there."""
        return self.entry.state if self.entry else "waiting"

    @property
    def complete(self) -> bool:
        """True if every rendition of the recipe was created and downloaded."""
        return self.state == "done" and set(self.files) == {rendition.name for rendition in self.recipe.renditions}

    @property
    def reason(self) -> str:
        """The reason why the job is not complete."""
        if self.entry and self.entry.error_message:
            return f"{self.entry.error_kind}: {self.entry.error_message}"
        return f"still {self.state} when the demo ended"


@dataclass(frozen=True)
class Plan:
    """The jobs of the photos, and the photos without a matching recipe."""

    jobs: list[Job]
    skipped: list[Photo]


def plan_jobs(photos: list[Photo], recipe: str | None, environ: Mapping[str, str]) -> Plan:
    """Plan the jobs of all recipes that match, or of one recipe by its name.

    Raises:
        DevstackError: The recipe file or a setting is invalid, the recipe does not exist, or no photo matches.
    """
    with _as_devstack_error():
        settings = Settings.load(environ)
        recipes = load_recipes(settings)
        candidates = [recipes.get(recipe)] if recipe else list(recipes)
    matches = [(photo, [each for each in candidates if _matches(each, photo, named=bool(recipe))]) for photo in photos]
    jobs = [
        Job(photo, each, JobKey.of(each.name, settings.input_container, photo.name))
        for photo, matching in matches
        for each in matching
    ]
    if not jobs:
        raise DevstackError("none of the files is a photo that matches a recipe")
    return Plan(jobs, [photo for photo, matching in matches if not matching])


def _matches(recipe: Recipe, photo: Photo, *, named: bool) -> bool:
    if named and not recipe.include:
        return (mimetypes.guess_type(photo.name)[0] or "").startswith("image/")
    return recipe.matches(photo.name)


class Pipeline:
    """The pipeline of the stack, accessed through its storage account."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._container = services.settings.input_container

    async def upload(self, jobs: list[Job]) -> None:
        """Upload the photos to the input container. Submit the jobs of recipes that do not run on upload."""
        limit = asyncio.Semaphore(CONCURRENT_UPLOADS)

        async def upload_photo(photo: Photo, photo_jobs: list[Job]) -> None:
            """Upload a photo and submit its jobs."""
            async with limit:
                for job in photo_jobs:
                    job.upload_started = time.monotonic()
                with photo.path.open("rb") as file:
                    blob = self._services.account.container(self._container).get_blob_client(photo.name)
                    await blob.upload_blob(file, overwrite=True)
                for job in photo_jobs:
                    if not job.recipe.include:
                        await self._services.job_queue.send(
                            Message(recipe=job.recipe.name, container=self._container, name=photo.name)
                        )

        groups = groupby(jobs, key=lambda job: job.photo)
        await asyncio.gather(*(upload_photo(photo, list(photo_jobs)) for photo, photo_jobs in groups))

    async def follow(self, jobs: list[Job], on_change: Callable[[], None]) -> None:
        """Poll the ledger until every job has ended, or nothing has changed for the stall timeout."""
        last_change = time.monotonic()
        while not all(job.ended for job in jobs) and time.monotonic() - last_change < STALL_TIMEOUT_SECONDS:
            if await self._poll(jobs):
                last_change = time.monotonic()
                on_change()
            await asyncio.sleep(POLL_INTERVAL_SECONDS)

    async def _poll(self, jobs: list[Job]) -> bool:
        """Read the rows of the open jobs, one range per recipe. Return whether a row changed."""
        open_jobs = sorted((job for job in jobs if not job.ended), key=lambda job: (job.key.recipe, job.key.row))
        changed = False
        for recipe, group in groupby(open_jobs, key=lambda job: job.key.recipe):
            by_row = {job.key.row: job for job in group}
            async for entry in self._services.ledger.scan(recipe, min(by_row), max(by_row)):
                job = by_row.get(entry.key.row)
                if job and (job.entry is None or job.entry.row_etag != entry.row_etag):
                    job.entry, job.seconds, changed = entry, time.monotonic() - job.upload_started, True
        return changed

    async def download(self, job: Job, folder: Path) -> None:
        """Download the renditions of a finished job to a folder."""
        if job.entry is None or job.state != "done":
            return
        for rendition in job.entry.renditions:
            data, _ = await self._services.renditions.read(rendition["path"])
            path = folder / rendition["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            job.files[rendition["name"]] = path


@asynccontextmanager
async def open_pipeline(environ: Mapping[str, str]) -> AsyncIterator[Pipeline]:
    """Open the pipeline with the settings in `environ` until the block ends.

    Raises:
        DevstackError: The recipe file or a setting is invalid.
    """
    with _as_devstack_error():
        settings = Settings.load(environ)
        services = Services.open(settings, load_recipes(settings), environ)
    try:
        yield Pipeline(services)
    finally:
        await services.close()


@contextmanager
def _as_devstack_error() -> Iterator[None]:
    """Raise errors of the pipeline as errors of the demo."""
    try:
        yield
    except PipelineError as error:
        raise DevstackError(error.message) from None
