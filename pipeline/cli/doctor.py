"""Commands about the environment: check what jobs need, create resources, show the session pool, end idle sessions."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from itertools import chain
from typing import Annotated, Literal

import httpx
import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pipeline.cli.common import Json, console, counted, services_provider, show_json, with_services
from pipeline.cli.event_subscription import APP_HOST_VARIABLE, check_address
from pipeline.cli.memory import required_mib
from pipeline.errors import PipelineError
from pipeline.monitoring.health import version_info
from pipeline.monitoring.pool_overview import SlotOverview
from pipeline.pool.auth import SCOPE
from pipeline.pool.drain import drain as end_sessions
from pipeline.services import Services
from pipeline.settings import BLOB_TRIGGER_POISON_QUEUE, PLATFORM_AUTH_VARIABLE
from pipeline.storage import DEFAULT_SHARDS, MAX_SHARDS, JobQueue, create_all
from pipeline.telemetry import printable

Status = Literal["ok", "warning", "error"]
MARKS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "error": "[red]✗[/]"}
CHECK_TIMEOUT_SECONDS = 15.0
# Leases and tokens tolerate some seconds. Above the first limit they fail sometimes, above the second always.
CLOCK_WARNING_SECONDS, CLOCK_ERROR_SECONDS = 5.0, 60.0
MAX_COUNTED_FAILURES = 1000


@dataclass(frozen=True)
class Finding:
    """Result of a check. For a warning or an error, `detail` names the remedy."""

    check: str
    status: Status
    detail: str


def command(as_json: Json = False) -> None:
    """Check settings, dependencies and versions; suggest repairs.

    Exits with status 1 if a check finds an error.
    """
    findings = asyncio.run(examine())
    if as_json:
        show_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            console.print(f"{MARKS[finding.status]} {finding.check}: {escape(finding.detail)}")
    if any(finding.status == "error" for finding in findings):
        raise typer.Exit(1)


async def examine() -> list[Finding]:
    """Run all checks. If settings or recipes are invalid, there is nothing else to check."""
    try:
        provider = services_provider()
        services = provider.services()
    except PipelineError as error:
        return [Finding(error.kind, "error", error.message)]
    about = version_info(services.settings)
    packages = ", ".join(f"{name} {version}" for name, version in about.packages.items())
    findings = [
        Finding("settings", "ok", "valid"),
        Finding("recipes", "ok", ", ".join(provider.recipes.names)),
        Finding("versions", "ok", f"Python {about.python}, engine {about.engine[:12]}, {packages}"),
    ]
    try:
        checks = (_dependencies, _queues, _events, _token, _clock, _failures, _console, _memory)
        results = await asyncio.gather(*(_run(check, services) for check in checks))
    finally:
        await services.close()
    return [*findings, *chain.from_iterable(results)]


async def _run(check: Callable[[Services], Awaitable[list[Finding]]], services: Services) -> list[Finding]:
    """Run a check. An error or a timeout of the check is a finding, too."""
    name = check.__name__.strip("_")
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            return await check(services)
    except PipelineError as error:
        return [Finding(name, "error", f"{error.kind}: {error.message}")]
    except TimeoutError:
        return [Finding(name, "error", f"no response within {CHECK_TIMEOUT_SECONDS:.0f} s")]


async def _dependencies(services: Services) -> list[Finding]:
    """Check containers, queues, tables and pool, as `GET /api/health` does."""
    findings = []
    for each in (await services.health.check()).dependencies:
        status: Status = ("warning" if each.reason else "ok") if each.healthy else "error"
        findings.append(Finding(each.name, status, each.reason or f"{each.ms:.0f} ms"))
    return [*findings, *await _pauses(services)]


async def _pauses(services: Services) -> list[Finding]:
    times = await services.admission.pauses.current()
    if not times:
        return [Finding("pauses", "ok", "none")]
    kinds = " ".join(times)
    return [Finding("pauses", "warning", f"{kinds} paused: `image-pipeline resume {kinds}` continues")]


async def _queues(services: Services) -> list[Finding]:
    """Count waiting messages and dead letters. A running app takes dead letters out of their queue."""
    findings = []
    settings = services.settings
    for name in (settings.job_queue, settings.run_queue):
        count = await JobQueue(services.account, name).length()
        findings.append(Finding(f"messages in {name}", "ok", str(count)))
    # The platform creates these queues with their first messages.
    for name in (settings.job_poison_queue, settings.run_poison_queue, BLOB_TRIGGER_POISON_QUEUE):
        if count := await JobQueue(services.account, name).length(missing_ok=True):
            detail = f"{counted(count, 'dead letter')} that the app has not processed: check that the app is running"
            findings.append(Finding(f"messages in {name}", "warning", detail))
    return findings


async def _events(services: Services) -> list[Finding]:
    """Check the function to which Event Grid delivers the events of uploads."""
    verdict = await check_address(services.identity, os.environ, services.settings.event_subscription)
    return [Finding("event subscription", *verdict)]


async def _token(services: Services) -> list[Finding]:
    """Get a token for the pool. The token itself is never shown."""
    if services.identity is None or not services.settings.pool_needs_token:
        return [Finding("token", "ok", "not needed for a pool on this machine")]
    minutes = ((await services.identity.get_token(SCOPE)).expires_on - time.time()) / 60
    return [Finding("token", "ok" if minutes > 0 else "error", f"valid for {minutes:.0f} minutes")]


async def _clock(services: Services) -> list[Finding]:
    """Compare the clock with the time in a response of storage; an error response has it, too."""
    try:
        async with httpx.AsyncClient(timeout=CHECK_TIMEOUT_SECONDS) as client:
            sent = time.time()
            response = await client.head(services.account.url)
            middle = (sent + time.time()) / 2
            # Storage returns whole seconds.
            skew = middle - parsedate_to_datetime(response.headers["Date"]).timestamp() - 0.5
    except (httpx.HTTPError, KeyError) as error:
        return [Finding("clock", "warning", f"not compared: storage did not return its time ({type(error).__name__})")]
    detail = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the clock of storage"
    if abs(skew) < CLOCK_WARNING_SECONDS:
        return [Finding("clock", "ok", detail)]
    status: Status = "warning" if abs(skew) < CLOCK_ERROR_SECONDS else "error"
    return [Finding("clock", status, f"{detail}: synchronize it with NTP, or leases and tokens end at the wrong time")]


async def _failures(services: Services) -> list[Finding]:
    groups = await services.ledger.failures_grouped(limit=MAX_COUNTED_FAILURES)
    if not groups:
        return [Finding("failures", "ok", "none")]
    count = sum(group.count for group in groups)
    kinds = ", ".join(f"{group.count} {group.kind}" for group in groups[:3])
    shown = f"{count}{' or more' if count >= MAX_COUNTED_FAILURES else ''}"
    return [Finding("failures", "warning", f"{shown} ({kinds}): see `image-pipeline failures`")]


async def _console(services: Services) -> list[Finding]:
    """Ask the app if its console answers: it does not without the authentication that the settings name."""
    access, host = services.settings.console_access, os.environ.get(APP_HOST_VARIABLE)
    if access != "app_service":
        return [Finding("console", "ok", f"access: {access}")]
    if not host:
        detail = f"not asked whether App Service authentication is on: set {APP_HOST_VARIABLE} to the app's host name"
        return [Finding("console", "warning", detail)]
    try:
        async with httpx.AsyncClient(timeout=CHECK_TIMEOUT_SECONDS) as client:
            response = await client.get(f"https://{host}/api/console")
    except httpx.HTTPError as error:
        return [Finding("console", "warning", f"{host} did not answer ({type(error).__name__}): start the app")]
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE and PLATFORM_AUTH_VARIABLE in response.text:
        detail = "it answers 503: turn App Service authentication on, or set PIPELINE_CONSOLE_ACCESS to keys"
        return [Finding("console", "error", detail)]
    return [Finding("console", "ok", "App Service authentication is on")]


async def _memory(services: Services) -> list[Finding]:
    """Compare the memory of an instance with the need of its concurrent requests."""
    settings = services.settings
    if not (settings.http_concurrency and settings.instance_memory_mib):
        return [Finding("memory", "ok", "not limited: no instance of Azure Functions is configured")]
    required, present = required_mib(settings), settings.instance_memory_mib
    detail = (
        f"{settings.http_concurrency} concurrent requests need {required:,} MiB of the {present:,} MiB of an instance"
    )
    if required <= present:
        return [Finding("memory", "ok", detail)]
    remedy = "lower MAX_HTTP_BODY_MIB or raise INSTANCE_MEMORY, and remove your own PIPELINE_HTTP_… settings"
    return [Finding("memory", "error", f"{detail}: {remedy}")]


def show_pool(as_json: Json = False) -> None:
    """Show the slots of the session pool, and the cost of its sessions."""
    pool = with_services(lambda services: services.pool_monitor.overview())
    if as_json:
        show_json(pool.model_dump())
        return
    table = Table("slot", "state", "generation", "jobs served", "age", "running", box=None)
    for slot in pool.slots:
        age = "" if slot.age is None else f"{slot.age:.0f} s"
        table.add_row(str(slot.number), slot.state, str(slot.generation), str(slot.uses), age, _running(slot))
    console.print(table)
    console.print(
        f"{pool.capacity} slots: {pool.free} free, {pool.leased} leased, {pool.dirty} dirty, {pool.cooling} cooling; "
        f"saturation {pool.saturation:.0%}"
    )
    hours, price = pool.hours, pool.hours.price
    cost = (
        f"; they cost {hours.today * price:.2f} and {hours.month * price:.2f}, in the currency of "
        "PIPELINE_PRICE_SESSION_HOUR (USD by default)"
        if price is not None
        else ""
    )
    console.print(f"started session-hours: {hours.today} today, {hours.month} this month (UTC){cost}")


def _running(slot: SlotOverview) -> Text:
    """Describe the running jobs of a slot: the first one, and the number of others. Names are shown without markup."""
    if slot.jobs:
        others = (slot.count or 0) - 1
        return Text(f"{slot.jobs[0].recipe} {printable(slot.jobs[0].source)}" + (f" +{others}" if others > 0 else ""))
    if slot.state != "leased":
        return Text("")
    return Text("unknown: not published yet" if slot.count is None else "idle")


def drain() -> None:
    """End all sessions that no running process holds."""
    ended = with_services(lambda services: end_sessions(services.settings, services.slot_documents, services.pool))
    console.print(f"{counted(ended, 'session')} ended")


def create_resources(
    ledger_shards: Annotated[
        int, typer.Option(min=1, max=MAX_SHARDS, help="Shards of a new ledger; an existing one keeps its number.")
    ] = DEFAULT_SHARDS,
) -> None:
    """Create missing containers, queues and tables."""

    async def work(services: Services) -> list[str]:
        created = await create_all(services.account, services.settings)
        await services.ledger.shards.install(ledger_shards)
        return created

    created = with_services(work)
    console.print(f"created {', '.join(created)}" if created else "nothing to create: everything exists")
