"""Run the command line: `python -m functions_host`."""

from functions_host.cli import program

program(prog_name="functions-host")
