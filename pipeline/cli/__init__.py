"""Command line `image-pipeline`: works with the settings of the function app, on Azure and on the local stack."""

import os
import sys
from importlib import import_module
from typing import Annotated

import typer

from pipeline import __version__

INTERRUPTED = 130
COMMANDS = {
    "init": ("doctor:create_resources", "Create missing containers, queues and tables."),
    "doctor": ("doctor:command", "Check settings, dependencies and versions; suggest repairs."),
    "settings": ("settings:command", "Show every setting: value, default and meaning."),
    "recipes": ("recipes:app", "Check and explain recipes."),
    "transforms": ("recipes:list_transforms", "List the transforms with their parameters and examples."),
    "preview": ("preview:command", "Render images with a recipe, without storage."),
    "run": ("run:command", "Process a folder of images with a temporary local stack."),
    "submit": ("jobs:submit", "Submit jobs for files or stored sources."),
    "jobs": ("jobs:list_jobs", "List jobs, newest first."),
    "job": ("jobs:show_job", "Show one job."),
    "failures": ("jobs:failures", "List failures, and count them by kind."),
    "retry": ("jobs:retry", "Retry failed jobs."),
    "dismiss": ("jobs:dismiss", "Dismiss failures or cancel queued jobs."),
    "pause": ("pauses:pause", "Pause uploads, requests or runs: their jobs wait, and lose nothing."),
    "resume": ("pauses:resume", "Resume uploads, requests or runs after a pause."),
    "plan": ("runs:plan", "Plan a bulk run: jobs, reasons, duration and cost."),
    "reprocess": ("runs:reprocess", "Plan and start a bulk run, and follow it."),
    "runs": ("runs:app", "List, follow, cancel and resume bulk runs."),
    "estimate": ("runs:estimate", "Estimate the duration of a bulk run from measured job times."),
    "minimum-version": ("pauses:minimum_version", "Show or raise the minimum version of the app."),
    "ledger": ("ledger:app", "Rebuild or reshard the ledger."),
    "prune": ("runs:prune", "List orphaned renditions; delete them with --delete."),
    "pool": ("doctor:show_pool", "Show the slots of the session pool, and the cost of its sessions."),
    "drain": ("doctor:drain", "End all sessions that no running process holds."),
    "trace": ("trace:command", "Draw the timeline of jobs as HTML or SVG."),
}
"""Module and object of each command, and its line in the help. Only the requested command is imported: loading all
of them takes 3 s."""


def show_version(requested: bool) -> None:
    """Print the version and exit."""
    if requested:
        typer.echo(f"image-pipeline {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Create renditions of images: recipes, jobs, bulk runs and the session pool."""


def placeholder() -> None:
    """Stand for a command that is listed in the help and not requested."""


def build(requested: str = "") -> typer.Typer:
    """Return the command line with the requested command loaded, and the others by name and help alone."""
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(root)
    for name, (target, summary) in COMMANDS.items():
        module, _, attribute = target.partition(":")
        command = getattr(import_module(f"{__name__}.{module}"), attribute) if name == requested else placeholder
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, short_help=summary)
        else:
            app.command(name, short_help=summary)(command)
    return app


def run(program: str) -> None:
    """Run the command line of this process, called `program` in its messages.

    During completion, the shell passes the words typed so far in a variable: bash in COMP_WORDS, the others in
    _TYPER_COMPLETE_ARGS.
    """
    completed = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    words = completed.split() or sys.argv
    requested = next((word for word in words[1:] if not word.startswith("-")), "")
    try:
        build(requested)(prog_name=program)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
