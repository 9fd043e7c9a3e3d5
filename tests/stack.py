"""The pipeline's services on the emulators, for tests: real sessions, real storage."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import PoolUnavailable
from pipeline.pool.drain import drain
from pipeline.recipes import load_recipes
from pipeline.services import Services
from pipeline.settings import Settings
from pipeline.storage.account import create_all
from pipeline.storage.keys import JobKey
from pipeline.storage.ledger import Entry

RECIPES = """
recipes:
  web:
    match: {include: ["photos/**"]}
    renditions:
      small: {format: webp, quality: 80, transforms: [{resize: {width: 200}}]}
      thumb: {format: jpeg, transforms: [{resize: {width: 64, height: 64, mode: cover}}]}
  tutorial:
    transforms: [{crop: {box: [100, 100, 400, 400]}}]
    renditions:
      crop: {format: png}
"""


@dataclass
class Stack:
    """Services with their own containers, queues, tables and slots."""

    services: Services
    environ: dict[str, str]

    async def upload(self, name: str, data: bytes) -> str:
        """Upload a source and return its ETag."""
        container = self.services.account.container(self.services.settings.input_container)
        return str((await container.get_blob_client(name).upload_blob(data, overwrite=True))["etag"]).strip('"')

    async def outputs(self) -> dict[str, bytes]:
        """Return all renditions by path."""
        container = self.services.account.container(self.services.settings.output_container)
        return {
            blob.name: await (await container.download_blob(blob.name)).readall()
            async for blob in container.list_blobs()
        }

    async def entry(self, recipe: str, name: str) -> Entry | None:
        """Return the ledger row of a job."""
        return await self.services.ledger.get(JobKey.of(recipe, self.services.settings.input_container, name))

    async def messages(self) -> list[dict[str, Any]]:
        """Return the messages in the job queue, the invisible ones included."""
        queue = self.services.account.queue(self.services.settings.job_queue)
        return [json.loads(message.content) async for message in queue.receive_messages(visibility_timeout=1)]

    async def run_messages(self) -> list[bytes]:
        """Receive the visible messages of the run queue and delete them."""
        queue = self.services.account.queue(self.services.settings.run_queue)
        messages = [message async for message in queue.receive_messages(messages_per_page=32, visibility_timeout=60)]
        for message in messages:
            await queue.delete_message(message)
        return [message.content for message in messages]

    async def process_messages(self) -> int:
        """Handle messages of the run queue until it is empty. Return their number."""
        count = 0
        while messages := await self.run_messages():
            count += len(messages)
            await asyncio.gather(*(self.services.run_worker.handle_message(body) for body in messages))
        return count

    async def waiting_messages(self) -> int:
        """Count the messages of the run queue, the invisible ones included."""
        queue = self.services.account.queue(self.services.settings.job_queue)
        return (await queue.get_queue_properties()).approximate_message_count or 0


def environment(azurite: str, session_pool: str, recipe_file: Path) -> dict[str, str]:
    """Return the environment of a function app on the emulators, with new containers, queues and tables."""
    own = secrets.token_hex(4)
    return {
        "AzureWebJobsStorage": azurite,
        "IMAGES": azurite,
        "PIPELINE_POOL_ENDPOINT": session_pool,
        "PIPELINE_POOL_MAX_SESSIONS": "2",
        "PIPELINE_RECIPES": str(recipe_file),
        "PIPELINE_INPUT_CONTAINER": f"input-{own}",
        "PIPELINE_OUTPUT_CONTAINER": f"output-{own}",
        "PIPELINE_UPLOAD_CONTAINER": f"uploads-{own}",
        "PIPELINE_STATE_CONTAINER": f"state-{own}",
        "PIPELINE_DEAD_LETTER_CONTAINER": f"deadletters-{own}",
        "PIPELINE_JOB_QUEUE": f"jobs-{own}",
        "PIPELINE_LEDGER_TABLE": f"ledger{own}",
        "PIPELINE_RUN_QUEUE": f"runs-{own}",
        "PIPELINE_RUN_TABLE": f"runs{own}",
        "PIPELINE_REQUEUE_DELAY": "0",
        "PIPELINE_RETRY_TIMEOUT": "2",
        "PIPELINE_RETRY_MAX_ATTEMPTS": "2",
    }


@asynccontextmanager
async def open_stack(environ: dict[str, str]) -> AsyncIterator[Stack]:
    """Open the services that `environ` configures. End their sessions at the exit."""
    settings = Settings.load(environ)
    services = Services.open(settings, load_recipes(settings), environ)
    await create_all(services.account, settings)
    await services.ledger.shards.install(2)
    try:
        yield Stack(services, environ)
    finally:
        await services.scheduler.close()
        with suppress(PoolUnavailable):
            await drain(settings, services.slot_documents, services.pool)
        await services.close()
