"""`python -m pipeline doctor`: is everything there that jobs need, and what is to be changed where it is not."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import httpx
import typer
from rich.markup import escape

from pipeline.api.health import health, version
from pipeline.cli.common import Json, console, show_json, this_process
from pipeline.errors import PipelineError
from pipeline.pool.auth import SCOPE, PoolToken
from pipeline.services import Services
from pipeline.storage.queue import JobQueue

Verdict = Literal["good", "look", "bad"]
MARKS = {"good": "[green]✓[/]", "look": "[yellow]![/]", "bad": "[red]✗[/]"}
OLDEST_PYTHON = (3, 11)
PATIENCE = 15.0
# Leases and tokens bear some seconds; from here on they fail now and then, and from there on always.
SKEW_LOOK, SKEW_BAD = 5.0, 60.0
POISON = "-poison"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what was seen, and what to change where it is not good."""

    what: str
    verdict: Verdict
    seen: str


def command(as_json: Json = False) -> None:
    """Check settings, recipes, storage, queues, the session pool, its token, versions and the clock."""
    findings = asyncio.run(examine())
    if as_json:
        show_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            console.print(f"{MARKS[finding.verdict]} {finding.what}: {escape(finding.seen)}", highlight=False)
    if any(finding.verdict == "bad" for finding in findings):
        raise typer.Exit(1)


async def examine() -> list[Finding]:
    """Everything that was found; without settings there is nothing to look at."""
    findings = [_python()]
    try:
        process = this_process()
        services = process.services()
    except PipelineError as error:
        return [*findings, Finding(error.kind, "bad", error.message)]
    names = ", ".join(process.recipes.names)
    findings += [Finding("settings", "good", "all are right"), Finding("recipes", "good", names), _engine(services)]
    try:
        findings += await _dependencies(services)
        looks = (_queues, _runs_table, _token, _clock, _attention)
        for found in await asyncio.gather(*(_looked(look, services) for look in looks)):
            findings += found
    finally:
        await services.close()
    return findings


def _python() -> Finding:
    own = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= OLDEST_PYTHON
    return Finding("python", "good" if good else "bad", own if good else f"{own}: 3.11 or later is needed")


def _engine(services: Services) -> Finding:
    about = version(services)
    packages = ", ".join(f"{name} {number}" for name, number in about.packages.items())
    return Finding("versions", "good", f"engine {about.engine[:12]}, session API {about.session_api}, {packages}")


async def _dependencies(services: Services) -> list[Finding]:
    """Containers, queue, ledger and pool, as the health check of the app sees them; roles show in what is refused."""
    found = (await health(services)).dependencies
    return [
        Finding(
            each.name, ("look" if each.reason else "good") if each.well else "bad", each.reason or f"{each.ms:.0f} ms"
        )
        for each in found
    ]


async def _looked(look: Callable[[Services], Awaitable[list[Finding]]], services: Services) -> list[Finding]:
    name = look.__name__.strip("_").replace("_", " ")
    try:
        async with asyncio.timeout(PATIENCE):
            return await look(services)
    except PipelineError as error:
        return [Finding(name, "bad", f"{error.kind}: {error.message}")]
    except TimeoutError:
        return [Finding(name, "bad", f"no answer within {PATIENCE:.0f} s")]


async def _queues(services: Services) -> list[Finding]:
    """How much waits; what is in a poison queue is on its way into the ledger as long as the app runs."""
    settings = services.settings
    waiting = [
        Finding(f"queue {name}", "good", f"{await queue.length()} messages")
        for name, queue in ((settings.job_queue, services.job_queue), (settings.run_queue, services.run_queue))
    ]
    for name in (settings.job_queue + POISON, settings.run_queue + POISON):
        try:
            count = await JobQueue(services.account, name).length()
        except PipelineError as error:
            if error.kind != "configuration":
                raise
            continue
        if count:
            told = f"{count} messages that the app has not taken in: is it running, and this version of it?"
            waiting.append(Finding(f"queue {name}", "look", told))
    return waiting


async def _runs_table(services: Services) -> list[Finding]:
    await services.run_store.page("run", 1)
    return [Finding(f"table {services.settings.run_table}", "good", "can be read")]


async def _token(services: Services) -> list[Finding]:
    """Whether the identity gets a token for the pool, and for whom it is."""
    if services.identity is None or not services.settings.pool_needs_token:
        return [Finding("token", "good", "none is needed for a pool on this machine")]
    header = await PoolToken(services.identity).header()
    claims = _claims(header["Authorization"].removeprefix("Bearer "))
    audience, left = str(claims.get("aud", "?")), float(claims.get("exp", 0)) - time.time()
    wanted = SCOPE.removesuffix("/.default")
    if audience.rstrip("/") != wanted:
        return [Finding("token", "bad", f"it is for {audience}, not {wanted}: see who signs in here")]
    verdict: Verdict = "good" if left > 0 else "bad"
    return [Finding("token", verdict, f"for {audience}, good for another {left / 60:.0f} minutes")]


def _claims(token: str) -> dict[str, Any]:
    """What a token says; nothing of a token that is not readable. The token itself is never shown."""
    part = token.partition(".")[2].partition(".")[0]
    try:
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}


async def _clock(services: Services) -> list[Finding]:
    """How far this clock is from storage's. Any answer tells the time, a refusal too."""
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        try:
            asked = time.time()
            answer = await client.head(services.account.url)
            middle = (asked + time.time()) / 2
        except httpx.HTTPError as error:
            return [Finding("clock", "look", f"storage did not tell the time ({type(error).__name__})")]
    theirs = answer.headers.get("Date", "")
    if not theirs:
        return [Finding("clock", "look", "storage did not tell the time")]
    # Storage tells whole seconds.
    skew = middle - parsedate_to_datetime(theirs).timestamp() - 0.5
    told = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} storage's"
    if abs(skew) < SKEW_LOOK:
        return [Finding("clock", "good", told)]
    verdict: Verdict = "look" if abs(skew) < SKEW_BAD else "bad"
    return [Finding("clock", verdict, f"{told}: set it by NTP, or leases and tokens end at the wrong time")]


async def _attention(services: Services) -> list[Finding]:
    """What waits for a person."""
    groups = await services.ledger.failures_grouped(limit=1000)
    count = sum(group.count for group in groups)
    if not count:
        return [Finding("failures", "good", "none")]
    kinds = ", ".join(f"{group.count} {group.kind}" for group in groups[:3])
    return [Finding("failures", "look", f"{count} or more ({kinds}): see `python -m pipeline failures`")]
