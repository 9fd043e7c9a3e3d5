"""Event Grid for the storage emulator: `python -m devstack event-grid`.

It stands before the emulator's blob service, passes every call on, and posts an event for each blob that was written
or deleted to the webhooks that subscribed, with the handshake, the filters, the pauses and the dead letters of Azure's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from devstack import azurite, foreground
from devstack.certificate import Certificate
from devstack.event_grid.control import Control
from devstack.event_grid.grid import Grid
from devstack.event_grid.oddities import Oddities
from devstack.event_grid.proxy import Proxy
from devstack.event_grid.subscription import Subscription, for_blobs, load
from devstack.event_grid.upstream import Upstream
from devstack.serving import serving

# Longer than any client keeps a quiet connection, as the emulator's own is.
KEEP_ALIVE = azurite.KEEP_ALIVE


@dataclass(frozen=True)
class Options:
    """What to run: before which emulator, on which port, with which oddities."""

    emulator: str
    port: int = 0
    oddities: Oddities = field(default_factory=Oddities)
    pace: float = 1.0
    account: str = azurite.ACCOUNT
    key: str = azurite.KEY
    certificate: Certificate | None = None


@contextlib.asynccontextmanager
async def running(options: Options) -> AsyncIterator[tuple[str, Grid]]:
    """Run it for as long as the block lasts: the address that takes the emulator's place, and the Event Grid."""
    async with Upstream.open(options.emulator, options.account, options.key) as upstream:
        grid = Grid(upstream, options.oddities, options.pace)
        try:
            app = Control(grid, Proxy(upstream, grid.written))
            async with serving(
                app, options.port, grace=5, certificate=options.certificate, keep_alive=KEEP_ALIVE
            ) as address:
                yield address, grid
        finally:
            await grid.close()


def command(
    emulator: Annotated[str, typer.Option(help="Address of the emulator's blob service.")] = "http://127.0.0.1:10000",
    port: Annotated[int, typer.Option(help="0 is any free port.")] = 0,
    to: Annotated[list[str] | None, typer.Option(help="Webhook that gets the events; may be repeated.")] = None,
    container: Annotated[str, typer.Option(help="Container whose whole blobs are told to --to.")] = "input",
    cloud_events: Annotated[
        bool, typer.Option("--cloud-events", help="Events for --to have the schema of CloudEvents 1.0.")
    ] = False,
    dead_letters: Annotated[str | None, typer.Option(help="Container for the events that --to does not take.")] = None,
    subscription: Annotated[
        list[Path] | None, typer.Option(help="A subscription: a JSON file with the properties that Azure's have.")
    ] = None,
    copies: Annotated[int, typer.Option(min=1, help="How often each event comes.")] = 1,
    shuffle: Annotated[float, typer.Option(min=0, help="Seconds within which events come, in any order.")] = 0.0,
    also: Annotated[
        list[str] | None, typer.Option(help="A data.api of which there is an event for each upload too.")
    ] = None,
    lose: Annotated[float, typer.Option(min=0, max=1, help="Part of the events that never come.")] = 0.0,
    pace: Annotated[float, typer.Option(min=0, help="Times Azure's pauses between attempts.")] = 1.0,
    account: Annotated[str, typer.Option(help="The emulator's account.")] = azurite.ACCOUNT,
    key: Annotated[str, typer.Option(envvar="EMULATOR_KEY", help="Its key.", show_default=False)] = azurite.KEY,
    certificate: Annotated[
        Path | None, typer.Option(help="Serve https with this certificate; needs --key-file.")
    ] = None,
    key_file: Annotated[Path | None, typer.Option(help="The certificate's key.")] = None,
) -> None:
    """Stand before the storage emulator and post an event for every blob that is written, until Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    for name in ("azure", "httpx", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if bool(certificate) != bool(key_file):
        raise typer.BadParameter("--certificate and --key-file go together")
    secured = Certificate(certificate, key_file) if certificate and key_file else None
    oddities = Oddities(copies, shuffle, tuple(also or ()), lose)
    options = Options(emulator, port, oddities, pace, account, key, secured)
    shorthand = for_blobs(to, container, dead_letters, cloud=cloud_events) if to else None
    foreground.run(_serve(options, subscription or [], shorthand))


async def _serve(options: Options, files: list[Path], shorthand: object) -> None:
    subscriptions = [load(file) for file in files]
    subscriptions += [Subscription.read("blobs", shorthand)] if shorthand else []
    async with running(options) as (address, grid):
        for each in subscriptions:
            await grid.subscribe(each)
        typer.echo(f"event grid ready: {address}/{options.account}")
        await asyncio.Event().wait()
