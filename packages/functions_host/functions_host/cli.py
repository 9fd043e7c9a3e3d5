"""The function host: it drives the triggers of a function app against a storage account, the way the platform does.

It knows nothing of the app that it runs. What the platform's own host does and this one does not: bindings other than
the trigger, function keys.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from devstack import foreground
from devstack.host.host import Options, serve
from devstack.host.logs import configure


def command(
    app: Annotated[Path, typer.Option(help="Folder of function_app.py.")] = Path(),
    port: Annotated[int, typer.Option(help="0 is any free port.")] = 0,
    poll: Annotated[float, typer.Option(min=0.05, help="Seconds between two looks for new blobs.")] = 0.5,
    hidden: Annotated[
        float, typer.Option(min=2, help="Seconds after which the messages of a killed host come back (Azure: 600).")
    ] = 30.0,
    events: Annotated[
        bool, typer.Option("--events", help="Event Grid tells of blobs: no scan for triggers with that source.")
    ] = False,
    webhook_key: Annotated[
        str, typer.Option(envvar="DEVSTACK_WEBHOOK_KEY", help="The code that Event Grid must give; any without.")
    ] = "",
    grace: Annotated[float, typer.Option(min=0, help="Seconds that a stop gives to what is under way.")] = 10.0,
) -> None:
    """Run a function app, until Ctrl-C."""
    configure()
    options = Options(app.resolve(), port, poll, hidden, grace, events, webhook_key)
    foreground.run(serve(options, lambda address: typer.echo(f"function host ready: {address}")))
