"""`python -m devstack up`: everything together, in the foreground."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from devstack import azurite, foreground, stack
from devstack.state import ROOT, near


def command(
    hosts: Annotated[int, typer.Option(min=1, help="Function hosts to run side by side.")] = 1,
    max_sessions: Annotated[int, typer.Option(min=1, help="Sessions that the pool runs at once.")] = 5,
    port: Annotated[int, typer.Option(help="Port of the first function host; 0 is any free port.")] = 0,
    data: Annotated[Path, typer.Option(help="Folder that keeps the blobs, messages and rows.")] = azurite.DATA,
    in_memory: Annotated[bool, typer.Option("--in-memory", help="Keep nothing.")] = False,
    app: Annotated[Path, typer.Option(help="Folder of function_app.py.")] = ROOT,
    identity: Annotated[
        bool, typer.Option("--identity", help="As on Azure: https, no keys, a managed identity signs in everywhere.")
    ] = False,
    events: Annotated[
        bool, typer.Option("--events", help="Event Grid tells of blobs, as on Azure, in place of a scan.")
    ] = False,
    event_grid: Annotated[
        str, typer.Option(help="More options for it, such as '--copies 2 --shuffle 1'; implies --events.")
    ] = "",
    token_lifetime: Annotated[int, typer.Option(min=1, help="Seconds that its tokens are good for.")] = 86_400,
    env_file: Annotated[Path, typer.Option(help="Where to keep the settings for other programs.")] = stack.ENV_FILE,
) -> None:
    """Run storage, session pool and function hosts, until Ctrl-C."""
    options = stack.Options(
        hosts,
        max_sessions,
        None if in_memory else data.resolve(),
        port,
        app.resolve(),
        identity=identity,
        token_lifetime=token_lifetime,
        events=events or bool(event_grid),
        event_grid=tuple(shlex.split(event_grid)),
    )
    foreground.run(_serve(options, env_file))


async def _serve(options: stack.Options, env_file: Path) -> None:
    await stack.check_recipes(options.app)
    async with stack.running(options, _print) as running:
        with stack.environment_file(running.settings, env_file) as kept:
            functions = ", ".join(running.hosts)
            if (options.app / "pipeline" / "web" / "console").is_dir():
                typer.echo(f"console: {running.hosts[0]}/api/console")
            typer.echo(f"stack ready: functions {functions}; session pool {running.pool}; settings in {near(kept)}")
            raise await running.failure()


def _print(part: str, line: str) -> None:
    typer.echo(f"{part:>12} | {line}", err=True)
