"""Commands `pool` and `drain`: show the slots of the session pool, and end idle sessions."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from pipeline.cli.common import Json, console, counted, show_json, with_services
from pipeline.monitoring.pool_overview import SlotOverview
from pipeline.pool.recycler import drain as end_sessions
from pipeline.telemetry import printable


def command(as_json: Json = False) -> None:
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
