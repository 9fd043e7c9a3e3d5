"""Execute one job under a claim with heartbeat and fencing: acquire, upload, execute, download, verify, commit.

The claim's generation is the fencing token: a commit of an older generation never replaces a newer rendition.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import Any

from pipeline.concurrency import gather_or_cancel
from pipeline.engine.revisions import decoder_revision
from pipeline.errors import (
    ConfigError,
    CostCapReached,
    JobSuperseded,
    OutdatedDeployment,
    PermanentError,
    PipelineError,
    PoolFull,
    RecipeError,
    SessionLost,
    SourceChanged,
    SourceError,
    TransientError,
)
from pipeline.jobs.current_version import for_current_version
from pipeline.jobs.rendering import Renderer, SchedulingPolicy, StagedRendition
from pipeline.jobs.replaced_renditions import ReplacedRenditions
from pipeline.jobs.retry_policy import is_service_fault, uses_attempt
from pipeline.jobs.session_losses import SessionLosses
from pipeline.jobs.source_content import ContentComparison, facts_of
from pipeline.jobs.source_metadata import metadata_digest
from pipeline.jobs.timings import JobTimer
from pipeline.pool.report import SessionReport
from pipeline.recipes import Recipe
from pipeline.settings import Settings
from pipeline.storage import (
    JOB_METADATA_KEY,
    NO_OPTIONS,
    Claim,
    ClaimOptions,
    Entry,
    JobKey,
    Ledger,
    QueueMessage,
    RenditionBlob,
    RenditionMark,
    Renditions,
    Source,
    Sources,
    Staged,
    Version,
    fits_row,
)
from pipeline.telemetry import bytes_moved, job_log_context, logger

log = logger(__name__)
LONG_ETAG = "0x8DE000000000000"
"""As long as any ETag that storage returns."""
FIRST_ATTEMPT = QueueMessage()
UPLOAD_POLICY = SchedulingPolicy("upload")


@dataclass(frozen=True)
class JobExecutor:
    """Execute jobs under a claim, with a heartbeat, and record their ends in the ledger."""

    settings: Settings
    ledger: Ledger
    sources: Sources
    renditions: Renditions
    renderer: Renderer
    losses: SessionLosses = field(default_factory=SessionLosses)

    async def execute(
        self,
        container: str,
        name: str,
        recipe: Recipe,
        *,
        policy: SchedulingPolicy = UPLOAD_POLICY,
        history: QueueMessage = FIRST_ATTEMPT,
        options: ClaimOptions = NO_OPTIONS,
    ) -> Entry:
        """Execute one job, unless it is done already or another worker holds the claim.

        `history` is the message that started the job, with what its earlier attempts used up. `options` are those of
        the claim.

        Returns:
            The job's row in the ledger. A failure is recorded there, not raised.

        Raises:
            TransientError: Retry the job later.
            PoolFull: Retry the job later; this is not an attempt.
            SourceChanged: The source keeps changing. Retry the job later; this is not an attempt.
            JobSuperseded: Nothing is left to do: the source is gone, or another worker has taken the job over.
        """
        key = JobKey.of(recipe.name, container, name)
        timer = JobTimer(recipe.family)
        with job_log_context(key.id), timer.job(key.id):
            attempt = partial(self._execute_current, key, (container, name), recipe, timer, policy, history, options)
            return await for_current_version(attempt)

    async def _execute_current(
        self,
        key: JobKey,
        place: tuple[str, str],
        recipe: Recipe,
        timer: JobTimer,
        policy: SchedulingPolicy,
        history: QueueMessage,
        options: ClaimOptions,
    ) -> Entry:
        """Claim and execute the job for the current version of its source."""
        with timer.stage("claim"):
            source = await self.sources.open(*place)
            version = Version(source.etag, recipe.hash)
            current = partial(self.sources.is_current, *place, source.etag)
            # Whoever wants an ended job executed again gets that.
            options = replace(
                options,
                adopt=None if options.again else ContentComparison(source, recipe).adopted,
                # A request's job may be all that tells of its image: it is listed from the start, for the recovery.
                listed=policy.priority == "interactive",
                known=await self._replaced.whole_row(options.known),
            )
            claim = await self.ledger.claim(key, place, version, current, options)
        if isinstance(claim, Entry):
            await self._replaced.delete(claim)
            log.info("skipped: the job is %s already", claim.state, extra={"event": "job.skipped"})
            timer.state = "skipped"
            return claim
        async with _heartbeat(claim, timer):
            entry = await self._render_and_commit(source, recipe, claim, timer, policy, history)
            timer.state = entry.state
        await self._replaced.delete(entry)
        return entry

    @property
    def _replaced(self) -> ReplacedRenditions:
        enabled = self.settings.replaced_renditions == "delete"
        return ReplacedRenditions(self.ledger, self.renditions, enabled=enabled)

    async def _render_and_commit(
        self,
        source: Source,
        recipe: Recipe,
        claim: Claim,
        timer: JobTimer,
        policy: SchedulingPolicy,
        history: QueueMessage,
    ) -> Entry:
        """Render, commit and complete the claim; on an error fail, requeue or abandon the claim."""
        try:
            rendered, report = await self._render_with_retry(source, recipe, timer, policy, history)
            with timer.stage("commit"):
                records = await self._commit(rendered, source, recipe, claim, report)
            with timer.stage("ledger"):
                entry = await claim.complete(records, _summary(source, report, timer), await facts_of(source, recipe))
        except (PermanentError, ConfigError) as error:
            facts = await facts_of(source, recipe) if source.sha256 else None
            entry = await claim.fail(error, timer.current, timer.ms, facts)
            # Logged after the write, so that each failure has one such line, however often the job started.
            log.warning("failed at %s: %s", timer.current, error, extra={"event": "job.failed", "kind": error.kind})
            return entry
        except (SourceChanged, OutdatedDeployment) as error:
            with suppress(PipelineError):
                await claim.requeue(error, timer.current, tried=False)
            raise
        except (TransientError, PoolFull, CostCapReached) as error:
            log.warning(
                "interrupted at %s: %s", timer.current, error, extra={"event": "job.interrupted", "kind": error.kind}
            )
            with suppress(PipelineError):
                await claim.requeue(
                    error,
                    timer.current,
                    tried=uses_attempt(error),
                    service_seconds=history.service_seconds + (timer.elapsed if is_service_fault(error) else 0.0),
                )
            raise
        except JobSuperseded as error:
            with suppress(PipelineError):
                await claim.abandon(error)
            raise
        size = sum(each.facts.size for each in rendered)
        bytes_moved.add(source.size, {"direction": "in", "recipe": recipe.family})
        bytes_moved.add(size, {"direction": "out", "recipe": recipe.family})
        plural = "" if len(rendered) == 1 else "s"
        log.info("done: %d rendition%s, %d bytes", len(rendered), plural, size, extra={"event": "job.done"})
        return entry

    async def _commit(
        self,
        rendered: list[StagedRendition[Staged]],
        source: Source,
        recipe: Recipe,
        claim: Claim,
        report: SessionReport,
    ) -> list[dict[str, Any]]:
        """Commit the renditions under the claim's generation. Returns their records for the ledger."""
        if not fits_row([_record(each, LONG_ETAG) for each in rendered]):
            raise RecipeError(
                f"the names of {len(rendered)} renditions exceed the size of a row in the ledger: give the recipe "
                "fewer renditions, or the source a shorter name",
                kind="too_many_renditions",
            )
        source_format = report.source.format if report.source else ""
        mark = RenditionMark(
            claim.entry.key.id,
            claim.entry.generation,
            recipe_version=recipe.hash,
            source_etag=source.etag,
            source_size=source.size,
            source_sha256=source.sha256,
            renditions=len(rendered),
            source_format=source_format,
            source_metadata=metadata_digest((await facts_of(source, recipe)).metadata),
            decoder_revision=decoder_revision(source_format),
            deployment=claim.entry.deployment,
        )
        etags = await gather_or_cancel(
            *(
                self.renditions.commit(
                    each.staged,
                    _blob(each, source, recipe),
                    _marked(mark, each),
                    claim.entry.output_etag(each.path),
                )
                for each in rendered
            )
        )
        return [_record(each, etag) for each, etag in zip(rendered, etags, strict=True)]

    async def _render_with_retry(
        self, source: Source, recipe: Recipe, timer: JobTimer, policy: SchedulingPolicy, history: QueueMessage
    ) -> tuple[list[StagedRendition[Staged]], SessionReport]:
        """Render in a session; if that session is lost, retry once in a fresh one, alone in its execution.

        Two lost sessions are a failure of the job if the second loss counts: the source may have caused them. If it
        does not count, or this process lost a session together with its slot, SessionLost is raised: retry later.
        """
        self._check_source(source, recipe)
        first: SessionLost | None = None
        for _ in range(2):
            try:
                attempt_policy = replace(policy, exclusive=policy.exclusive or first is not None)
                return await self.renderer.render(source, recipe, timer, attempt_policy, self.renditions.stage)
            except SessionLost as error:
                image = f"{source.container}/{source.name}"
                if not error.service:
                    self.losses.record(timer.session, image)
                if first and (first.service or error.service or not self.losses.counts(image, history.losses)):
                    raise
                if first:
                    message = f"{error.message}; tried in two sessions"
                    raise PermanentError(message, kind=error.kind, stderr_tail=error.stderr_tail) from error
                first = error
                log.warning("%s; retrying in a fresh session", error, extra={"event": "job.session_lost"})
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _check_source(self, source: Source, recipe: Recipe) -> None:
        """Raise SourceError for a blob that is a rendition, is empty or is too large."""
        if JOB_METADATA_KEY in source.metadata:
            raise SourceError(
                f"this blob is a rendition of this pipeline (its metadata has {JOB_METADATA_KEY}) and is not "
                "transformed again; remove that metadata to process it anyway",
                kind="own_rendition",
            )
        if source.size == 0:
            raise SourceError("the source has no bytes: upload the image again", kind="empty_source")
        limit = min(self.settings.max_source_bytes, recipe.limits.get("max_source_bytes", inf))
        if source.size > limit:
            raise SourceError(
                f"the source has {source.size:,} bytes, more than the limit of {limit:,} (PIPELINE_MAX_SOURCE_BYTES, "
                "or the recipe's limits)",
                kind="too_many_bytes",
            )


def _blob(rendered: StagedRendition[Staged], source: Source, recipe: Recipe) -> RenditionBlob:
    """Return path, content type and metadata of a rendition.

    The metadata are those that the recipe carries over from the source, those of the report, and the recipe's name.
    """
    carried = {name: source.metadata[name] for name in recipe.carry if name in source.metadata}
    metadata = {**carried, **rendered.facts.as_reported["extra"], "recipe": recipe.name}
    return RenditionBlob(rendered.path, rendered.content_type, rendered.rendition.cache_control, metadata)


def _marked(mark: RenditionMark, rendered: StagedRendition[Staged]) -> RenditionMark:
    """Return the mark of one rendition of a job."""
    facts = rendered.facts
    return replace(
        mark,
        rendition=facts.name,
        format=facts.format,
        sha256=facts.sha256,
        width=facts.width,
        height=facts.height,
    )


def _record(rendered: StagedRendition[Staged], etag: str) -> dict[str, Any]:
    facts = rendered.facts
    return {
        "name": facts.name,
        "path": rendered.path,
        "format": facts.format,
        "size": facts.size,
        "sha256": facts.sha256,
        "etag": etag,
        "width": facts.width,
        "height": facts.height,
        # Empty in most rows, of which there are up to four per job.
        **({"dropped": facts.dropped} if facts.dropped else {}),
    }


def _summary(source: Source, report: SessionReport, timer: JobTimer) -> dict[str, Any]:
    facts = report.source.model_dump() if report.source else {}
    return {
        "source": {"size": source.size, **facts},
        "versions": report.versions,
        "began": round(timer.started, 3),
        "session": timer.session,
        "ms": dict(timer.ms),
        "spans": [list(span) for span in timer.spans],
        "session_ms": report.ms,
    }


@asynccontextmanager
async def _heartbeat(claim: Claim, timer: JobTimer) -> AsyncIterator[None]:
    """Renew the claim while the job executes; a superseded job stops at its next stage."""

    async def renew() -> None:
        try:
            while True:
                await asyncio.sleep(claim.heartbeat_interval)
                with suppress(TransientError):
                    await claim.renew()
        except JobSuperseded as error:
            timer.lost_claim = error

    timer.claim_check = claim.ensure_fresh
    task = asyncio.create_task(renew())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
