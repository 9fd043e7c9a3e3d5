"""Run the local stack or one of its parts: `python -m devstack COMMAND`."""

import sys
from importlib import import_module

import typer

COMMANDS = {
    "up": "devstack.up",
    "azurite": "devstack.azurite",
    "session-pool": "session_pool_emulator.command",
    "host": "functions_host.cli",
    "identity": "devstack.identity",
    "event-grid": "event_grid_emulator.cli",
    "demo": "devstack.demo",
}


def build_cli(command: str) -> typer.Typer:
    """Build the command line. Import only the requested command, because the others take a second to import."""
    app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    for name in [command] if command in COMMANDS else COMMANDS:
        app.command(name)(import_module(COMMANDS[name]).command)
    return app


if __name__ == "__main__":
    build_cli(sys.argv[1] if len(sys.argv) > 1 else "")(prog_name="python -m devstack")
