"""What the commands share: running with the services, and telling errors."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import typer
from rich.console import Console

from pipeline.errors import PipelineError
from pipeline.services import Process, Services

T = TypeVar("T")

console = Console()


@contextmanager
def told() -> Iterator[None]:
    """An error of the pipeline ends the command with its message and exit status 1, without a traceback."""
    try:
        yield
    except PipelineError as error:
        typer.echo(f"{error.kind}: {error.message}", err=True)
        raise typer.Exit(1) from None


def with_services(work: Callable[[Services], Awaitable[T]]) -> T:
    """Do some work with the services of the function app's own settings."""

    async def run() -> T:
        services = Process(os.environ).services()
        try:
            return await work(services)
        finally:
            await services.close()

    with told():
        return asyncio.run(run())
