"""Shared parts of the commands: services, output, error messages and exit statuses.

Exit statuses: 0: success. 1: the command failed; the message says why. 2: invalid command line. 3: the command
succeeded, but a job or a run failed. 130: interrupted.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console

from pipeline.errors import ConfigError, PipelineError
from pipeline.settings import variable

if TYPE_CHECKING:
    from pipeline.services import Services, ServicesProvider

T = TypeVar("T")
FAILED = 3
LOCAL_STACK_HINT = "on a laptop: start `python -m devstack up`, then `set -a; . .devstack/env; set +a` in this terminal"

# Pipes and files get unwrapped lines: job ids are as long as blob names.
UNLIMITED_WIDTH = 10_000
console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else UNLIMITED_WIDTH, highlight=False)
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def show_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print a value as JSON on one line, independent of the terminal."""
    typer.echo(json.dumps(value, ensure_ascii=False, default=str))


def show_cursor(cursor: str) -> None:
    """Print the option that continues a list on its next page, if there is one."""
    if cursor:
        console.print(f"more: --cursor {cursor}", soft_wrap=True)


@contextmanager
def errors_shown() -> Iterator[None]:
    """End the command on an error of the pipeline or of a file: print its message, exit with status 1."""
    try:
        yield
    except PipelineError as error:
        message = f"{error.kind}: {error.message}"
    except OSError as error:
        if error.filename is None:  # not about a file of the command line
            raise
        message = f"file: {error.filename}: {error.strerror}: name another one"
    else:
        return
    typer.echo(message, err=True)
    raise typer.Exit(1)


def report_skipped(faults: Iterable[str]) -> None:
    """Print messages about skipped files, and exit with status 1 if there are any: the others are done."""
    faults = list(faults)
    for fault in faults:
        typer.echo(f"skipped {fault}", err=True)
    if faults:
        raise typer.Exit(1)


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: `1 job`, `1,200 jobs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def services_provider() -> ServicesProvider:
    """Return the services by the settings in the environment.

    Raises:
        ConfigError: Settings or recipes are invalid. Without an endpoint, the message names the local stack.
    """
    from pipeline.services import ServicesProvider  # loads the Azure clients: 2 s

    try:
        return ServicesProvider(os.environ)
    except ConfigError as error:
        if variable("pool_endpoint") in os.environ:
            raise
        raise ConfigError(f"{error.message}\n{LOCAL_STACK_HINT}", kind=error.kind) from None


def with_services(work: Callable[[Services], Awaitable[T]]) -> T:
    """Run `work` with services, and close them at the end. Errors end the command."""

    async def run() -> T:
        services = services_provider().services()
        try:
            return await work(services)
        finally:
            await services.close()

    with errors_shown():
        return asyncio.run(run())
