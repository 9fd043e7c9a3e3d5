"""Run the whole stack in the foreground: `python -m devstack up`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from devstack import azurite, stack
from devstack.layout import Layout
from devstack.run_until_signal import run_until_signal
from devstack.state import ROOT, short_path


def command(
    hosts: Annotated[int, typer.Option(min=1, help="Number of function hosts.")] = 1,
    max_sessions: Annotated[int, typer.Option(min=1, help="Maximum number of concurrent sessions.")] = 5,
    port: Annotated[int, typer.Option(help="Port of the first function host; 0 selects free ports.")] = 0,
    data: Annotated[Path, typer.Option(help="Folder for blobs, messages and rows.")] = azurite.DATA_FOLDER,
    in_memory: Annotated[bool, typer.Option("--in-memory", help="Store nothing on disk.")] = False,
    app: Annotated[Path, typer.Option(help="Folder that contains function_app.py.")] = ROOT,
    identity: Annotated[
        bool, typer.Option("--identity", help="Use https and a managed identity instead of keys, as on Azure.")
    ] = False,
    events: Annotated[
        bool,
        typer.Option("--events", help="Trigger blob functions by Event Grid events, as on Azure, instead of scans."),
    ] = False,
    event_grid: Annotated[
        str,
        typer.Option(help="Options of the Event Grid emulator, such as '--copies 2 --shuffle 1'; implies --events."),
    ] = "",
    layout: Annotated[
        Layout,
        typer.Option(help="all: each host runs all functions. azure: hosts for each group of functions."),
    ] = Layout.ALL,
    scale: Annotated[
        list[str], typer.Option(help="Hosts of a group of functions, as run_waiting=3 (layout azure); repeatable.")
    ] = [],  # noqa: B006 - typer's form
    token_lifetime: Annotated[int, typer.Option(min=1, help="Lifetime of the identity's tokens, in seconds.")] = 86_400,
    env_file: Annotated[Path, typer.Option(help="File for the settings of other programs.")] = stack.ENV_FILE,
) -> None:
    """Run storage, session pool and function hosts until Ctrl-C."""
    if (hosts > 1) if layout is Layout.AZURE else bool(scale):
        raise typer.BadParameter("--hosts is for the layout all, and --scale for the layout azure")
    options = stack.StackOptions(
        hosts,
        max_sessions,
        None if in_memory else data.resolve(),
        port,
        app.resolve(),
        identity=identity,
        token_lifetime=token_lifetime,
        events=events or bool(event_grid),
        event_grid_arguments=tuple(shlex.split(event_grid)),
        layout=layout,
        scale=_parse_scale(scale),
    )
    run_until_signal(_serve(options, env_file))


def _parse_scale(values: list[str]) -> dict[str, int]:
    """Parse numbers of hosts by group."""
    scale: dict[str, int] = {}
    for value in values:
        group, _, count = value.partition("=")
        if not group or not count.isdecimal() or count == "0":
            raise typer.BadParameter(f"--scale {value}: write a group and its number of hosts, as run_waiting=3")
        scale[group] = int(count)
    return scale


async def _serve(options: stack.StackOptions, env_file: Path) -> None:
    await stack.check_recipes(options.app)
    async with stack.running(options, lambda part, line: typer.echo(f"{part:>12} | {line}", err=True)) as running:
        with stack.environment_file(running.settings, env_file) as file:
            functions = ", ".join(running.hosts)
            if (options.app / "pipeline" / "console").is_dir():
                typer.echo(f"console: {running.hosts[0]}/api/console")
            typer.echo(
                f"stack ready: functions {functions}; session pool {running.pool}; settings in {short_path(file)}"
            )
            raise await running.failure()
