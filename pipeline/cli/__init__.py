"""The command line: works against the embedded stack and Azure alike, with the settings of the function app."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import typer
from rich.console import Console

from pipeline.errors import PipelineError
from pipeline.runs import reconcile as find_jobs
from pipeline.services import Process, Services
from pipeline.sessions.drain import drain as end_sessions
from pipeline.storage.setup import create_all

T = TypeVar("T")

app = typer.Typer(help="Images in, renditions out.", no_args_is_help=True, add_completion=False)
console = Console()


@app.command()
def init() -> None:
    """Make the containers, the queue and the table, where they are not there yet."""

    async def make(services: Services) -> list[str]:
        return await create_all(services.account, services.settings)

    made = _with_services(make)
    console.print(f"made {', '.join(made)}" if made else "everything is there already")


@app.command()
def reconcile() -> None:
    """Queue every job that should be done and that nothing has brought in."""
    console.print(f"{_with_services(find_jobs)} jobs queued")


@app.command()
def drain() -> None:
    """End every session that no running process holds."""

    async def end(services: Services) -> int:
        return await end_sessions(services.settings, services.slot_documents, services.pool)

    console.print(f"{_with_services(end)} sessions ended")


def _with_services(work: Callable[[Services], Awaitable[T]]) -> T:
    async def run() -> T:
        services = Process(os.environ).services()
        try:
            return await work(services)
        finally:
            await services.close()

    try:
        return asyncio.run(run())
    except PipelineError as error:
        Console(stderr=True).print(f"[red]{error.kind}[/]: {error.message}", highlight=False)
        sys.exit(1)
