"""`python -m devstack.session_pool`: the same as `python -m devstack session-pool`."""

from __future__ import annotations

import typer

from devstack.session_pool import command

if __name__ == "__main__":
    typer.run(command)
