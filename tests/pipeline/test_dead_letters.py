"""Dead letters are recorded in the ledger."""

from __future__ import annotations

import json
import time
from operator import attrgetter
from pathlib import Path

import pytest

from pipeline import runs
from pipeline.runs.model import Progress
from pipeline.storage.claim import Claim, ClaimOptions
from pipeline.storage.entry import Version
from pipeline.storage.keys import JobKey
from pipeline.storage.queue import mark_unreadable
from tests.images import image_bytes
from tests.stack import RECIPES, Stack, open_stack


def body(stack: Stack, recipe: str = "web") -> bytes:
    """Return a job message."""
    container = stack.services.settings.input_container
    return json.dumps({"recipe": recipe, "container": container, "name": "photos/a.jpg"}).encode()


async def yes() -> bool:
    """Confirm that the source is current."""
    return True


async def test_a_dead_letter_becomes_a_failure_that_can_be_retried(stack: Stack) -> None:
    await stack.upload("photos/a.jpg", image_bytes())
    await stack.services.dead_letters.handle_job_message(body(stack))
    entry = await stack.entry("web", "photos/a.jpg")
    assert entry is not None
    assert (entry.state, entry.error_kind) == ("failed", "undeliverable")
    assert (await stack.services.jobs.retry(entry.key)).state == "queued"


async def test_a_dead_letter_of_an_upload_queues_its_jobs(stack: Stack) -> None:
    await stack.upload("photos/a.jpg", image_bytes())
    container = stack.services.settings.input_container
    blob = {"FunctionId": "Host.Functions.image_uploaded", "ContainerName": container, "BlobName": "photos/a.jpg"}
    await stack.services.dead_letters.handle_blob_message(json.dumps(blob).encode())
    assert await stack.entry("web", "photos/a.jpg") is None
    queue = stack.services.account.queue(stack.services.settings.job_queue)
    assert (await queue.get_queue_properties()).approximate_message_count == 1


async def test_a_dead_letter_with_a_held_claim_is_checked_again(stack: Stack) -> None:
    etag = await stack.upload("photos/a.jpg", image_bytes())
    container, recipe = stack.services.settings.input_container, stack.services.recipes.get("web")
    key = JobKey.of("web", container, "photos/a.jpg")
    claim = await stack.services.ledger.claim(key, (container, "photos/a.jpg"), Version(etag, recipe.hash), yes)
    assert isinstance(claim, Claim)
    queue = stack.services.account.queue(stack.services.settings.job_poison_queue)
    await queue.create_queue()
    await stack.services.dead_letters.handle_job_message(body(stack))
    assert (await queue.get_queue_properties()).approximate_message_count == 1
    entry = await stack.entry("web", "photos/a.jpg")
    assert entry is not None
    assert entry.state == "running"


@pytest.mark.both
@pytest.mark.parametrize(
    "handler",
    ["dead_letters.handle_job_message", "dead_letters.handle_blob_message", "run_dead_letters.handle_message"],
)
async def test_an_unreadable_message_becomes_a_failure_in_the_end(stack: Stack, handler: str) -> None:
    body = mark_unreadable(b"\xff nonsense", time.time() - stack.services.settings.give_up_after)
    await attrgetter(handler)(stack.services)(body)
    (entry,) = (await stack.services.ledger.page(state="failed"))[0]
    assert (entry.error_kind, "nonsense" in entry.name) == ("bad_message", True)
    await stack.services.jobs.dismiss(entry.key)
    assert (await stack.services.ledger.page(state="failed"))[0] == []


@pytest.mark.both
async def test_a_run_ends_although_a_batch_is_a_dead_letter(stack: Stack) -> None:
    for number in range(3):
        await stack.upload(f"photos/{number}.jpg", image_bytes(60, 40))
    run = await stack.services.runs.start(runs.Selection(recipes=("web",)), expected_count=3)
    (find,) = await stack.run_messages()
    await stack.services.run_dead_letters.handle_message(find)
    assert (await stack.services.runs.get(run.id)).state == "stopped"
    await stack.services.runs.resume(run.id)
    for _ in ("resend", "find"):
        (message,) = await stack.run_messages()
        await stack.services.run_worker.handle_message(message)
    (batch,) = await stack.run_messages()
    await stack.services.run_dead_letters.handle_message(batch)
    seen = await stack.services.runs.get(run.id)
    assert (seen.state, seen.progress) == ("done", Progress(failed=3))


async def test_a_dead_batch_ends_with_each_job_in_another_state(environ: dict[str, str], recipe_file: Path) -> None:
    """One job was done before the process died, one source is gone, one job has a claim, and one recipe is gone."""
    async with open_stack(environ) as stack:
        services, container = stack.services, stack.services.settings.input_container
        for number in range(4):
            await stack.upload(f"photos/{number}.jpg", image_bytes(60, 40))
        run = await services.runs.start(runs.Selection(recipes=("web", "tutorial")), expected_count=8)
        (find,) = await stack.run_messages()
        await services.run_worker.handle_message(find)
        (batch,) = await stack.run_messages()
        web = services.recipes.get("web")
        await services.executor.execute(
            container, "photos/0.jpg", web, options=ClaimOptions(again=True, seen=0, run=run.id)
        )
        await services.account.container(container).delete_blob("photos/1.jpg")
        source = await services.sources.stat(container, "photos/2.jpg")
        key = JobKey.of("web", container, "photos/2.jpg")
        claim = await services.ledger.claim(key, (container, source.name), Version(source.etag, web.hash), yes)
        assert isinstance(claim, Claim)
    recipe_file.write_text(RECIPES.split("  tutorial:")[0])
    async with open_stack({**environ, "PIPELINE_CLAIM_TTL": "30"}) as stack:
        await stack.services.run_dead_letters.handle_message(batch)
        seen = (await stack.services.runs.get(run.id)).progress
        assert seen == Progress(done=1, skipped=2, failed=4, left=1)
        queue = stack.services.account.queue(stack.services.settings.run_queue)
        assert (await queue.get_queue_properties()).approximate_message_count == 1, "the batch is checked again"
        assert await stack.entry("web", "photos/1.jpg") is None
