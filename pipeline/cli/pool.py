"""`python -m pipeline pool`: who has the sessions."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from pipeline.cli.common import Json, console, counted, show_json, with_services
from pipeline.monitoring.pool_overview import PoolOverview, SlotOverview
from pipeline.pool.drain import drain as end_sessions
from pipeline.services import Services
from pipeline.telemetry import printable


def command(as_json: Json = False) -> None:
    """Show the slots of the session pool: what each session does, how worn it is, what all have cost."""

    async def look(services: Services) -> PoolOverview:
        return await services.pool_monitor.overview()

    pool = with_services(look)
    if as_json:
        show_json(pool.model_dump())
        return
    table = Table("slot", "state", "generation", "jobs", "age", "doing", box=None)
    for slot in pool.slots:
        age = "" if slot.age is None else f"{slot.age:.0f} s"
        table.add_row(str(slot.number), slot.state, str(slot.generation), str(slot.uses), age, _doing(slot))
    console.print(table)
    console.print(
        f"{pool.capacity} slots: {pool.free} free, {pool.leased} leased, {pool.dirty} dirty, {pool.cooling} cooling; "
        f"{pool.saturation:.0%} taken",
        highlight=False,
    )
    hours, price = pool.hours, pool.hours.price
    paid = (
        ""
        if price is None
        else f"; they cost {hours.today * price:.2f} and {hours.month * price:.2f}, "
        "in the currency of PIPELINE_PRICE_SESSION_HOUR (USD by default)"
    )
    console.print(f"session-hours begun: {hours.today} today, {hours.month} this month (UTC){paid}", highlight=False)


def _doing(slot: SlotOverview) -> Text:
    """The first job there, and how many more; names are shown as they are, without markup."""
    if not slot.jobs and slot.state == "leased":
        return Text("nothing yet told by who holds it" if slot.count is None else "idle: kept for the next job")
    if not slot.jobs:
        return Text("")
    more = (slot.count or 0) - 1
    return Text(f"{slot.jobs[0].recipe} {printable(slot.jobs[0].source)}" + (f" +{more}" if more > 0 else ""))


def drain() -> None:
    """End all sessions that no running process holds."""

    async def end(services: Services) -> int:
        return await end_sessions(services.settings, services.slot_documents, services.pool)

    console.print(f"{counted(with_services(end), 'session')} ended")
