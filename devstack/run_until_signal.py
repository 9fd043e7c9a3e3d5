"""Run a command in the foreground until Ctrl-C, SIGTERM or an error."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

import typer

from devstack.errors import DevstackError
from functions_host.errors import HostError

_FILE_HINT = "the command needs this file or folder: make it writable, or work in a copy that is writable"


def run_until_signal(main: Coroutine[Any, Any, None], *, interrupted_status: int = 0) -> None:
    """Run `main`. Ctrl-C and SIGTERM cancel it; it then cleans up and the command exits with `interrupted_status`.

    The function also handles HostError, which the HTTP server of the function host raises.

    Raises:
        typer.Exit: The command was interrupted, raised an error or could not access a file. After an error the message
            is printed and the status is 1.
    """
    try:
        asyncio.run(_cancelled_by_signals(main))
    except asyncio.CancelledError:
        raise typer.Exit(interrupted_status) from None
    except (DevstackError, HostError) as error:
        message = str(error)
    except OSError as error:
        if error.filename is None:  # a bug and not a problem with a file: show the traceback
            raise
        message = f"{error.filename}: {error.strerror}; {_FILE_HINT}"
    else:
        return
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)


async def _cancelled_by_signals(main: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(main)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await task
