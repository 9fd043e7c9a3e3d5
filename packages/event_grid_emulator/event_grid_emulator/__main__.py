"""Run the command line: `python -m event_grid_emulator`."""

from event_grid_emulator.cli import program

program(prog_name="event-grid-emulator")
