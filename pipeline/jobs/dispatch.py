"""What brings jobs in, and what becomes of a job that is not done yet: it waits in the queue, or is a failure."""

from __future__ import annotations

import asyncio
import random
from functools import partial

from pipeline.errors import JobSuperseded, PermanentError, PipelineError, PoolFull, RecipeError, TransientError
from pipeline.jobs.execution import UPLOAD_POLICY, ClaimOptions, execute_job
from pipeline.jobs.rendering import SchedulingPolicy
from pipeline.recipes import Recipe
from pipeline.services import Services
from pipeline.storage.keys import JobKey
from pipeline.storage.ledger import Entry, Version
from pipeline.storage.queue import Message
from pipeline.telemetry import about_job, continued, logger

log = logger(__name__)
MAX_DELAY_SECONDS = 3600.0


async def handle_blob(services: Services, container: str, name: str) -> None:
    """Do every job that the recipes have for a new or changed source; without one, nothing happens."""
    wanted = services.settings.input_container
    if container != wanted:
        log.warning(
            "nothing to do: %s/%s is no source; the Event Grid subscription is to have a filter on the subject, "
            "/blobServices/default/containers/%s/",
            container,
            name,
            wanted,
        )
        return
    try:
        recipes = await matching_recipes(services, container, name)
    except JobSuperseded as error:
        log.info("nothing to do: %s", error)
        return
    if not recipes:
        log.info("no recipe is for %s", name)
    messages = [Message(recipe=one.name, container=container, name=name) for one in recipes]
    # One job's trouble does not stop its neighbours.
    ends = await asyncio.gather(*(execute_message(services, message) for message in messages), return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException):
            raise end


async def matching_recipes(services: Services, container: str, name: str) -> list[Recipe]:
    """The recipes for a source. Only where one asks for a size or a type is the source looked at for that."""
    recipes = services.recipes.match(name)
    if not any(recipe.needs_facts for recipe in recipes):
        return recipes
    facts = await services.sources.stat(container, name)
    return services.recipes.match(name, size=facts.size, content_type=facts.content_type)


async def handle_message(services: Services, body: bytes) -> None:
    """Do the job that a queue message asks for. RecipeError when it is not a job message."""
    message = Message.parse(body)
    with continued(message.traceparent):
        await execute_message(services, message)


async def execute_message(
    services: Services, message: Message, urgency: SchedulingPolicy = UPLOAD_POLICY
) -> Entry | None:
    """Do a job; hand it to the queue when it cannot be done now, record a failure when it was tried often enough.

    Where another process is on the job, somebody looks again when that one's claim would have ended: this delivery may
    be all that is left of the job, should that process be dead already.

    Raises only when not even that can be written down: then the host's own redelivery keeps the job.
    """
    with about_job(JobKey.of(message.recipe, message.container, message.name).id):
        try:
            recipe = await services.recipe(message.recipe)
            wish = ClaimOptions(again=message.again, seen=message.seen)
            entry = await execute_job(services, message.container, message.name, recipe, urgency=urgency, **wish)
            if entry.state == "running":
                log.info("somebody is on it: looked at again in %d s", services.settings.claim_ttl)
                await services.job_queue.send(message, services.settings.claim_ttl)
            return entry  # noqa: TRY300 - what follows are the other ends
        except JobSuperseded as error:
            log.info("nothing to do: %s", error)
            await _mark_superseded(services, message, error)
        except RecipeError as error:
            # The app may be about to be replaced by one that knows it.
            await _requeue_or_fail(services, message, error)
        except PermanentError as error:
            await record_failure(services, message, error)
        except PoolFull as error:
            log.info("waits for a session: %s", error)
            await services.job_queue.send(message, retry_delay(services, 0))
        except TransientError as error:
            await _requeue_or_fail(services, message, error)
        except PipelineError:
            raise
        except Exception as error:  # the boundary: a bug must not lose a job
            log.exception("a bug: the job is tried again")
            told = TransientError(f"internal error ({type(error).__name__}); the log has the details", kind="internal")
            await _requeue_or_fail(services, message, told)
    return None


async def _mark_superseded(services: Services, message: Message, error: JobSuperseded) -> None:
    """A job whose source went, or changed, neither waits nor runs for ever: its worker may have died before.

    Only where the source is gone is a claim that has ended nobody's: else its worker may be slow, and about to finish.
    """
    entry = await services.ledger.get(JobKey.of(message.recipe, message.container, message.name))
    if entry and entry.state == "running" and (entry.is_running or error.kind != "source_gone"):
        await services.job_queue.send(message, services.settings.claim_ttl)
    elif entry and entry.state in ("queued", "running"):
        await services.ledger.transition(entry, "superseded")


async def _requeue_or_fail(services: Services, message: Message, error: TransientError | RecipeError) -> None:
    """Queue the next attempt, or record the failure when there have been enough and that can be done."""
    attempt = message.attempt + 1
    if attempt >= services.settings.max_attempts:
        try:
            await record_failure(services, message, error)
        except TransientError as trouble:
            log.warning("the failure cannot be recorded now: %s", trouble)
        else:
            return
    pause = max(retry_delay(services, attempt), getattr(error, "retry_after", None) or 0)
    log.info("attempt %d did not succeed; the next one in about %.0f s: %s", attempt, pause, error)
    await services.job_queue.send(message.model_copy(update={"attempt": attempt}), pause)


async def record_failure(
    services: Services, message: Message, error: PermanentError | TransientError, run: str = ""
) -> Entry:
    """Record that a job cannot be done, or was tried often enough, whether or not its source can be read.

    Its row, or that of whoever has done it or is on it meanwhile. JobSuperseded when the source is gone or has changed.
    """
    place = (message.container, message.name)
    source = await services.sources.stat(*place)
    key = JobKey.of(message.recipe, *place)
    version = Version(source.etag, await _recipe_hash(services, message.recipe, key))
    wish = ClaimOptions(again=message.again, seen=message.seen, run=run)
    # Another process may have done the job since: its result stands.
    current = partial(services.sources.is_current, *place, source.etag)
    claim = await services.ledger.claim(key, place, version, current, **wish)
    if isinstance(claim, Entry):
        return claim
    if isinstance(error, PermanentError):
        log.warning("failed: %s", error)
        return await claim.fail(error, "claim")
    told = f"{error.message}; given up after {message.attempt + 1} attempts"
    log.error("failed after %d attempts: %s", message.attempt + 1, error)
    return await claim.fail(type(error)(told, kind=error.kind, said=error.said), "queue")


async def _recipe_hash(services: Services, recipe: str, key: JobKey) -> str:
    """The recipe's hash; of one that this process does not know, what the job's row says."""
    try:
        return (await services.recipe(recipe)).hash
    except RecipeError:
        entry = await services.ledger.get(key)
        return entry.version.recipe_hash if entry else ""


def retry_delay(services: Services, attempt: int) -> float:
    """Seconds to wait: doubling with every attempt, with jitter so that many jobs do not come back at once."""
    delay = min(services.settings.requeue_delay * 2.0**attempt, MAX_DELAY_SECONDS)
    return delay * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
