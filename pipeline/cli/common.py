"""What the commands share: running with the services, telling results and errors, and exit statuses.

0: as asked. 1: it could not be done; the message says why. 2: the command line is wrong. 3: it was done, and something
failed in it. 130: interrupted.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console

from pipeline.errors import ConfigError, PipelineError, RequestError
from pipeline.settings import PREFIX

if TYPE_CHECKING:
    from pipeline.services import Services, ServicesProvider

T = TypeVar("T")
FAILED = 3
ON_A_LAPTOP = "on a laptop: start `python -m devstack up`, then `set -a; . .devstack/env; set +a` in this terminal"

# What is read by a program or goes to a file keeps its lines, whatever their length: ids are as long as names of blobs.
ENDLESS = 10_000
console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else ENDLESS)
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def show_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON holds
    """Print a value as JSON on one line, whatever the terminal."""
    typer.echo(json.dumps(value, ensure_ascii=False, default=str))


def invalid(error: ValidationError) -> RequestError:
    """What is wrong with options that make no valid request."""
    found = [(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors(include_url=False)]
    return RequestError("; ".join(f"{name}: {message.removeprefix('Value error, ')}" for name, message in found))


@contextmanager
def told() -> Iterator[None]:
    """An error of the pipeline, or of a file, ends the command with its message and exit status 1, no traceback."""
    try:
        yield
    except PipelineError as error:
        message = f"{error.kind}: {error.message}"
    except OSError as error:
        if error.filename is None:  # nothing that was named on the command line
            raise
        message = f"file: {error.filename}: {error.strerror}: name another one"
    else:
        return
    typer.echo(message, err=True)
    raise typer.Exit(1)


def counted(count: int, thing: str) -> str:
    """So many things: 1 job, 1,200 jobs."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def this_process() -> ServicesProvider:
    """The process of the settings in the environment. Who has none at all has most likely not read the stack's yet."""
    from pipeline.services import ServicesProvider  # loads all Azure clients: 2 s that `--help` and others do without

    try:
        return ServicesProvider(os.environ)
    except ConfigError as error:
        if f"{PREFIX}POOL_ENDPOINT" in os.environ:
            raise
        raise ConfigError(f"{error.message}\n{ON_A_LAPTOP}", kind=error.kind) from None


def with_services(work: Callable[[Services], Awaitable[T]]) -> T:
    """Do some work with the services of the function app's own settings."""

    async def run() -> T:
        services = this_process().services()
        try:
            return await work(services)
        finally:
            await services.close()

    with told():
        return asyncio.run(run())
