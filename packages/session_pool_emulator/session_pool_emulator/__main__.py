"""Run the emulator in the foreground: `python -m session_pool_emulator` or `session-pool-emulator`."""

import typer

from session_pool_emulator.command import command


def main() -> None:
    """Parse the command line and serve until SIGINT or SIGTERM."""
    typer.run(command)


if __name__ == "__main__":
    main()
