"""How a part of the stack runs in a terminal: until Ctrl-C or SIGTERM, or until something it needs fails."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

import typer

from devstack.errors import DevstackError

_REMEDY = "a file or folder there is needed: make it writable, or work in a copy that is"


def run(main: Coroutine[Any, Any, None], *, stopped: int = 0) -> None:
    """Run `main`, which is cancelled by Ctrl-C and SIGTERM and cleans up after itself.

    Exits with status `stopped` after a stop that was asked for, and with 1 and one message after a `DevstackError`, or
    where a file cannot be written or read.
    """
    try:
        asyncio.run(_until_asked(main))
    except asyncio.CancelledError:
        raise typer.Exit(stopped) from None
    except DevstackError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        if error.filename is None:  # no file's: a bug, whose traceback is of use
            raise
        typer.echo(f"error: {error.filename}: {error.strerror}; {_REMEDY}", err=True)
        raise typer.Exit(1) from None


async def _until_asked(main: Coroutine[Any, Any, None]) -> None:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await main
