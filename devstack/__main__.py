"""`python -m devstack …`: the embedded Azure, whole or in parts."""

from __future__ import annotations

import typer

from devstack import azurite, host, session_pool, up

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command("up")(up.command)
app.command("azurite")(azurite.command)
app.command("session-pool")(session_pool.command)
app.command("host")(host.command)

if __name__ == "__main__":
    app()
