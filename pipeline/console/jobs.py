"""Jobs: found by name, recipe, state and time; one of them with all that is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import azure.functions as func

from pipeline.api.problems import BadRequest
from pipeline.console import charts, responses, templates
from pipeline.console.auth import PATH
from pipeline.console.remediation import remediation
from pipeline.console.request import ConsoleRequest
from pipeline.errors import JobSuperseded
from pipeline.services import Services
from pipeline.storage.entry import STATES, Entry
from pipeline.storage.keys import JobKey
from pipeline.storage.ledger_queries import cursor_before

PAGE = 40
LOOKS = 5
"""So many pages of the ledger are looked through for one of these."""
STAGES = ("claim", "acquire", "upload", "execute", "download", "commit", "ledger")
"""The stages of a job in their order; other times that jobs note lie within these."""
COLOURS = dict(zip(STAGES, charts.COLOURS, strict=True))


@dataclass(frozen=True)
class Row:
    """A job as the lists show it."""

    entry: Entry

    @property
    def id(self) -> str:
        """The job's id."""
        return self.entry.key.id

    @property
    def picture(self) -> str:
        """The address of a small picture: its smallest rendition, or its source."""
        made = sorted(self.entry.renditions, key=lambda one: int(one["size"]))
        is_made = self.entry.state == "done" and made
        address = (
            templates.rendition_picture(self.id, made[0])
            if is_made
            else templates.source_picture(self.id, self.entry.version.etag)
        )
        return f"{address}&small"

    @property
    def seconds(self) -> float | None:
        """How long it took, when it has ended."""
        return sum(stages_of(self.entry.ms).values()) / 1000 if self.entry.ms else None


def stages_of(ms: Mapping[str, float]) -> dict[str, float]:
    """Milliseconds by stage, in the order of the stages."""
    return {name: ms[name] for name in STAGES if ms.get(name)}


@dataclass(frozen=True)
class Asked:
    """Which jobs: all of these at once. With a `name` they come by name, else the newest first."""

    recipe: str
    state: str
    name: str
    container: str
    before: datetime | None
    run: str

    @classmethod
    def of(cls, visit: ConsoleRequest) -> Asked:
        """Read the address. BadRequest when it asks for what there is not."""
        query, settings = visit.query, visit.services.settings
        state, name, container = query.get("state", ""), query.get("name", "").strip(), query.get("in", "")
        if state and state not in STATES:
            raise BadRequest(f"there is no state {state[:40]!r}: choose one of {', '.join(STATES)}")
        if container not in ("", settings.input_container, settings.upload_container):
            raise BadRequest("jobs are listed by the names in the input or the upload container")
        if name and not container:
            container = settings.input_container  # names are names in one container
        before = _moment(query["before"]) if query.get("before") else None
        return cls(query.get("recipe", ""), state, name, container, before, query.get("run", ""))

    def fits(self, entry: Entry) -> bool:
        """Whether a job is one of these, as far as no list of the ledger is of them alone."""
        return self.container in ("", entry.container) and (self.before is None or entry.since < self.before)


async def index(visit: ConsoleRequest) -> func.HttpResponse:
    """`GET jobs`: a page of them, newest first, or by name where a name is asked for."""
    query, settings, asked = visit.query, visit.services.settings, Asked.of(visit)
    found, following = await _page(visit.services, asked, query.get("from", ""))
    kept = {key: value for key, value in query.items() if key != "from" and value}
    return visit.page(
        "jobs.html",
        rows=[Row(entry) for entry in found],
        recipes=visit.services.recipes.names,
        states=STATES,
        containers=[settings.input_container, settings.upload_container],
        container=asked.container,
        by_name=bool(asked.name),
        following=f"{PATH}/jobs?{urlencode({**kept, 'from': following})}" if following else "",
        first=f"{PATH}/jobs?{urlencode(kept)}" if query.get("from") else "",
        asked=any(query.get(name) for name in ("recipe", "state", "name", "in", "before", "run")),
    )


async def _page(services: Services, asked: Asked, token: str) -> tuple[list[Entry], str]:
    """A page of jobs, sieved: it gives up after some looks, and the token goes on from there."""
    if asked.before and not asked.name and not token:
        token = cursor_before(asked.before)
    found: list[Entry] = []
    for _ in range(LOOKS):
        entries, token = await services.ledger.page(
            recipe=asked.recipe or None,
            state=asked.state or None,  # type: ignore[arg-type]
            container=asked.container if asked.name else "",
            prefix=asked.name,
            run=asked.run,
            limit=PAGE - len(found),
            cursor=token,
        )
        found += filter(asked.fits, entries)
        if not token or len(found) >= PAGE:
            break
    return found, token


async def show(visit: ConsoleRequest) -> func.HttpResponse:
    """`GET jobs/{id}`: everything that is known of a job."""
    entry = await _entry(visit)
    chosen = next((one for one in entry.renditions if one["name"] == visit.query.get("rendition")), None)
    return visit.page(
        "job.html",
        job=entry,
        id=entry.key.id,
        shown=chosen or next(iter(entry.renditions), None),
        spans=_spans(entry.report.get("spans", [])),
        stages=[(name, COLOURS[name], ms) for name, ms in stages_of(entry.ms).items()],
        advice=remediation(entry.error_kind) if entry.state == "failed" else None,
        known_recipe=entry.key.recipe in visit.services.recipes.names,
        going_on=entry.state in ("queued", "running"),
    )


def _spans(spans: list[list[Any]]) -> list[tuple[str, str, float, float]]:
    """The stretches of a job's stages: name, colour, start and length in milliseconds."""
    return [(name, COLOURS[name], start, length) for name, start, length in spans if name in STAGES]


async def retry(visit: ConsoleRequest) -> func.HttpResponse:
    """`POST jobs/{id}/retry`: once more."""
    entry = await visit.services.jobs.retry((await _entry(visit)).key)
    return responses.go_to(f"{PATH}/jobs/{entry.key.id}?told=retried")


async def dismiss(visit: ConsoleRequest) -> func.HttpResponse:
    """`POST jobs/{id}/dismiss`: let a failure be."""
    entry = await visit.services.jobs.dismiss((await _entry(visit)).key)
    return responses.go_to(f"{PATH}/jobs/{entry.key.id}?told=dismissed")


async def _entry(visit: ConsoleRequest) -> Entry:
    entry = await visit.services.ledger.get(JobKey.parse(visit.parts["id"]))
    if entry is None:
        raise JobSuperseded("There is no such job. It may have been of a recipe that is gone.", kind="unknown_job")
    return entry


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadRequest(f"{text[:40]!r} is not a time: write it like 2026-11-24T18:30 (UTC)") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
