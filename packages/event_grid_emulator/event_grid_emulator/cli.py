"""Command line of the Event Grid emulator."""

import asyncio
import logging
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from event_grid_emulator.emulator import (
    AZURITE_ACCOUNT,
    AZURITE_KEY,
    AZURITE_URL,
    Certificate,
    EmulatorOptions,
    running,
)
from event_grid_emulator.errors import EventGridError
from event_grid_emulator.faults import Faults
from event_grid_emulator.subscription import Subscription, blob_trigger_subscription, load_subscription

program = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@program.command()
def command(
    emulator: Annotated[str, typer.Option(help="URL of the storage emulator's blob service.")] = AZURITE_URL,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 selects a free port.")] = 0,
    to: Annotated[
        list[str] | None, typer.Option(help="Webhook URL that receives the events of --container; may be repeated.")
    ] = None,
    container: Annotated[str, typer.Option(help="Container of the events for --to.")] = "input",
    cloud_events: Annotated[
        bool, typer.Option("--cloud-events", help="Send events to --to in the CloudEvents 1.0 schema.")
    ] = False,
    dead_letters: Annotated[
        str | None, typer.Option(help="Container for events that cannot be delivered to --to.")
    ] = None,
    subscription: Annotated[
        list[Path] | None, typer.Option(help="JSON file with the properties of an Azure event subscription.")
    ] = None,
    copies: Annotated[int, typer.Option(min=1, help="Deliver each event this many times.")] = 1,
    shuffle: Annotated[
        float, typer.Option(min=0, help="Delay each event by a random time up to this (seconds).")
    ] = 0.0,
    also: Annotated[
        list[str] | None, typer.Option(help="Send another event with this data.api for each upload; may be repeated.")
    ] = None,
    lose: Annotated[float, typer.Option(min=0, max=1, help="Share of events to lose, from 0 to 1.")] = 0.0,
    pace: Annotated[float, typer.Option(min=0, help="Factor for the delays between delivery attempts.")] = 1.0,
    account: Annotated[str, typer.Option(help="Account name of the storage emulator.")] = AZURITE_ACCOUNT,
    key: Annotated[
        str, typer.Option(envvar="EMULATOR_KEY", help="Account key of the storage emulator.", show_default=False)
    ] = AZURITE_KEY,
    certificate: Annotated[
        Path | None, typer.Option(help="Serve https with this certificate (PEM); requires --key-file.")
    ] = None,
    key_file: Annotated[Path | None, typer.Option(help="Private key of the certificate (PEM).")] = None,
) -> None:
    """Proxy the storage emulator and send an event for every blob that is written, until Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    for name in ("azure", "httpx", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if bool(certificate) != bool(key_file):
        raise typer.BadParameter("--certificate and --key-file go together")
    tls = Certificate(certificate, key_file) if certificate and key_file else None
    faults = Faults(copies, shuffle, tuple(also or ()), lose)
    options = EmulatorOptions(emulator, port, faults, pace, account, key, tls)
    document = blob_trigger_subscription(to, container, dead_letters, cloud=cloud_events) if to else None
    _run_until_signal(_serve(options, subscription or [], document))


async def _serve(options: EmulatorOptions, files: list[Path], document: object) -> None:
    subscriptions = [load_subscription(file) for file in files]
    subscriptions += [Subscription.from_json("blobs", document)] if document else []
    async with running(options) as (url, grid):
        for each in subscriptions:
            await grid.subscribe(each)
        typer.echo(f"event grid ready: {url}/{options.account}")
        await asyncio.Event().wait()


def _run_until_signal(main: Coroutine[Any, Any, None]) -> None:
    """Run `main`. Ctrl-C and SIGTERM cancel it; it then cleans up and the command exits with status 0.

    Raises:
        typer.Exit: `main` raised EventGridError. Its message is printed and the status is 1.
    """

    async def cancel_on_signal() -> None:
        """Run `main` as a task that signals cancel."""
        task = asyncio.ensure_future(main)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await task

    try:
        asyncio.run(cancel_on_signal())
    except asyncio.CancelledError:
        return
    except EventGridError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
