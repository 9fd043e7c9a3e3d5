"""What the demo asks of the pipeline: which jobs a photo makes, and what has become of them."""

from __future__ import annotations

import asyncio
import mimetypes
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from devstack.demo.photos import Photo
from devstack.errors import DemoError
from pipeline.errors import PipelineError
from pipeline.recipes import Recipe
from pipeline.services import Services, load_recipes
from pipeline.settings import Settings
from pipeline.storage.keys import JobKey
from pipeline.storage.ledger import Entry
from pipeline.storage.queue import Message

POLL = 0.2
# Longer than the longest pause between two attempts of a job.
STALLED = 180.0
UPLOADS = 8


@dataclass
class Job:
    """One photo and one recipe; `seconds` is from the start of the upload to the last rendition."""

    photo: Photo
    recipe: Recipe
    key: JobKey
    dropped: float = 0.0
    seconds: float = 0.0
    entry: Entry | None = None
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("done", "failed", "superseded")

    @property
    def state(self) -> str:
        """As the ledger has it."""
        return self.entry.state if self.entry else "waiting"

    @property
    def complete(self) -> bool:
        """Whether every rendition of the recipe was made and downloaded."""
        return self.state == "done" and set(self.files) == {rendition.name for rendition in self.recipe.renditions}

    @property
    def reason(self) -> str:
        """Why it is not complete."""
        if self.entry and self.entry.error_message:
            return f"{self.entry.error_kind}: {self.entry.error_message}"
        return f"still {self.state} when the demo ended"


@dataclass(frozen=True)
class Plan:
    """The jobs that the photos make, and the photos that make none."""

    jobs: list[Job]
    skipped: list[Photo]


def plan_jobs(photos: list[Photo], recipe: str | None, environ: Mapping[str, str]) -> Plan:
    """Which jobs there will be: of the recipes that a photo matches, or of one recipe by its name.

    Raises:
        DemoError: the recipe file or a setting is wrong, there is no such recipe, or no photo for it.
    """
    with _told():
        settings = Settings.load(environ)
        recipes = load_recipes(settings)
        wanted = [recipes.get(recipe)] if recipe else list(recipes)
    matched = [(photo, [one for one in wanted if _for(one, photo, named=bool(recipe))]) for photo in photos]
    jobs = [
        Job(photo, one, JobKey.of(one.name, settings.input_container, photo.name))
        for photo, recipes_of_photo in matched
        for one in recipes_of_photo
    ]
    if not jobs:
        raise DemoError("none of the files is a photo that a recipe is for")
    return Plan(jobs, [photo for photo, recipes_of_photo in matched if not recipes_of_photo])


def _for(recipe: Recipe, photo: Photo, *, named: bool) -> bool:
    if named and not recipe.include:
        return (mimetypes.guess_type(photo.name)[0] or "").startswith("image/")
    return recipe.matches(photo.name)


class Pipeline:
    """The pipeline at work in the stack, seen through its storage."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._container = services.settings.input_container

    async def drop(self, jobs: list[Job]) -> None:
        """Upload the photos into the input container; ask for what no recipe does by itself."""
        limit = asyncio.Semaphore(UPLOADS)

        async def upload(photo: Photo, of_photo: list[Job]) -> None:
            async with limit:
                for job in of_photo:
                    job.dropped = time.monotonic()
                with photo.path.open("rb") as file:
                    blob = self._services.account.container(self._container).get_blob_client(photo.name)
                    await blob.upload_blob(file, overwrite=True)
                for job in of_photo:
                    if not job.recipe.include:
                        await self._services.job_queue.send(
                            Message(recipe=job.recipe.name, container=self._container, name=photo.name)
                        )

        photos = groupby(jobs, key=lambda job: job.photo)
        await asyncio.gather(*(upload(photo, list(of_photo)) for photo, of_photo in photos))

    async def follow(self, jobs: list[Job], changed: Callable[[], None]) -> None:
        """Look at the ledger until every job has ended, or nothing has happened for a long time."""
        moved = time.monotonic()
        while not all(job.ended for job in jobs) and time.monotonic() - moved < STALLED:
            if await self._look(jobs):
                moved = time.monotonic()
                changed()
            await asyncio.sleep(POLL)

    async def _look(self, jobs: list[Job]) -> bool:
        """Read the rows of the jobs that have not ended, a range for each recipe; whether anything changed."""
        open_jobs = sorted((job for job in jobs if not job.ended), key=lambda job: (job.key.recipe, job.key.row))
        changes = False
        for recipe, group in groupby(open_jobs, key=lambda job: job.key.recipe):
            by_row = {job.key.row: job for job in group}
            async for entry in self._services.ledger.scan(recipe, min(by_row), max(by_row)):
                job = by_row.get(entry.key.row)
                if job and (job.entry is None or job.entry.row_etag != entry.row_etag):
                    job.entry, job.seconds, changes = entry, time.monotonic() - job.dropped, True
        return changes

    async def download(self, job: Job, folder: Path) -> None:
        """Put the renditions of a job that is done into a folder."""
        if job.entry is None or job.state != "done":
            return
        for rendition in job.entry.renditions:
            data, _ = await self._services.renditions.read(rendition["path"])
            path = folder / rendition["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            job.files[rendition["name"]] = path


@asynccontextmanager
async def opened(environ: Mapping[str, str]) -> AsyncIterator[Pipeline]:
    """The pipeline that works with the settings in `environ`.

    Raises:
        DemoError: the recipe file or a setting is wrong.
    """
    with _told():
        settings = Settings.load(environ)
        services = Services.open(settings, load_recipes(settings), environ)
    try:
        yield Pipeline(services)
    finally:
        await services.close()


@contextmanager
def _told() -> Iterator[None]:
    """Say the pipeline's errors as errors of the demo."""
    try:
        yield
    except PipelineError as error:
        raise DemoError(error.message) from None
