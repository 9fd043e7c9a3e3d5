"""Command line of the function host, and the format of its log lines on standard error."""

import asyncio
import logging
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from functions_host.errors import HostError
from functions_host.functions import current_invocation
from functions_host.host import HostOptions, run_host

QUIET_LOGGERS = ("azure", "uvicorn", "asyncio", "urllib3")


def configure_logging() -> None:
    """Log at INFO and above; libraries log at WARNING and above."""
    handler = logging.StreamHandler()
    handler.addFilter(_prepare)
    formatter = logging.Formatter("%(asctime)s %(levelname)-7s %(invocation)s%(message)s")
    formatter.default_time_format, formatter.default_msec_format = "%H:%M:%S", "%s.%03d"
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def _prepare(record: logging.LogRecord) -> bool:
    """Add the invocation, and escape control characters: a blob name with a line break must not forge a log line."""
    record.invocation = f"[{invocation}] " if (invocation := current_invocation.get()) else ""
    text = record.getMessage()
    record.msg, record.args = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text), ()
    return True


program = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@program.command()
def command(
    app: Annotated[Path, typer.Option(help="Folder that contains function_app.py.")] = Path(),
    port: Annotated[int, typer.Option(help="Port to listen on; 0 selects a free port.")] = 0,
    poll: Annotated[float, typer.Option(min=0.05, help="Seconds between two scans for new blobs.")] = 0.5,
    hidden: Annotated[
        float,
        typer.Option(min=2, help="Visibility timeout of messages while their function runs, in seconds (Azure: 600)."),
    ] = 30.0,
    events: Annotated[
        bool,
        typer.Option("--events", help="Do not scan for blob triggers with the source Event Grid; wait for events."),
    ] = False,
    webhook_key: Annotated[
        str,
        typer.Option(envvar="FUNCTIONS_HOST_WEBHOOK_KEY", help="Key that Event Grid must send; empty accepts any key."),
    ] = "",
    group: Annotated[
        str,
        typer.Option(help="Run one group of functions, as an instance on Azure does: http, blob, or another function."),
    ] = "",
    grace: Annotated[float, typer.Option(min=0, help="Seconds that running invocations get at shutdown.")] = 10.0,
) -> None:
    """Run a function app until Ctrl-C."""
    configure_logging()
    options = HostOptions(app.resolve(), port, poll, hidden, grace, events, webhook_key, group)
    _run_until_signal(run_host(options, lambda url: typer.echo(f"function host ready: {url}")))


def _run_until_signal(main: Coroutine[Any, Any, None]) -> None:
    """Run `main`. Ctrl-C and SIGTERM cancel it; it then cleans up and the command exits with status 0.

    Raises:
        typer.Exit: `main` raised HostError. Its message is printed and the status is 1.
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
    except HostError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
