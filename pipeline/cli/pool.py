"""`python -m pipeline pool`: who has the sessions."""

from __future__ import annotations

from rich.table import Table

from pipeline.cli.common import Json, console, show_json, with_services
from pipeline.services import Services
from pipeline.web.links import Links
from pipeline.web.pool import PoolDocument, overview


def command(as_json: Json = False) -> None:
    """Show the slots of the session pool: free, leased, dirty or cooling, and how worn each session is."""

    async def look(services: Services) -> PoolDocument:
        return await overview(services, Links())

    pool = with_services(look)
    if as_json:
        show_json(pool.model_dump(exclude={"slots": {"__all__": {"recycle"}}}))
        return
    table = Table("slot", "state", "generation", "jobs", "age", box=None)
    for slot in pool.slots:
        age = "" if slot.age is None else f"{slot.age:.0f} s"
        table.add_row(str(slot.number), slot.state, str(slot.generation), str(slot.uses), age)
    console.print(table)
    console.print(
        f"{pool.capacity} slots: {pool.free} free, {pool.leased} leased, {pool.dirty} dirty, {pool.cooling} cooling; "
        f"{pool.saturation:.0%} taken",
        highlight=False,
    )
