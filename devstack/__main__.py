"""`python -m devstack …`: the embedded Azure, whole or in parts."""

from __future__ import annotations

import sys
from importlib import import_module

import typer

COMMANDS = {
    "up": "devstack.up",
    "azurite": "devstack.azurite",
    "session-pool": "session_pool_emulator.command",
    "host": "devstack.host",
    "identity": "devstack.identity",
    "event-grid": "devstack.event_grid",
    "demo": "devstack.demo",
}


def build(asked: str) -> typer.Typer:
    """The command line. Only the command that is asked for is imported: the others cost a second to load."""
    app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    for name in [asked] if asked in COMMANDS else COMMANDS:
        app.command(name)(import_module(COMMANDS[name]).command)
    return app


if __name__ == "__main__":
    build(sys.argv[1] if len(sys.argv) > 1 else "")(prog_name="python -m devstack")
