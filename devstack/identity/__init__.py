"""Managed identity emulator: the token endpoint of Azure Functions and App Service, on 127.0.0.1.

The Azure SDKs find it by the variables IDENTITY_ENDPOINT and IDENTITY_HEADER. Its tokens have no signature: only
Azurite (`--oauth basic` with https) and the session pool emulator (`--require-token`) accept them.
"""

import asyncio
import secrets
from typing import Annotated

import typer

from devstack.identity.endpoint import TokenEndpoint, TokenIssuer
from devstack.run_until_signal import run_until_signal
from functions_host.host import serving

SHUTDOWN_GRACE_SECONDS = 1


def command(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 selects a free port.")] = 0,
    header: Annotated[
        str, typer.Option(help="Value of IDENTITY_HEADER; generated if missing.", envvar="IDENTITY_HEADER")
    ] = "",
    client_id: Annotated[
        list[str] | None,
        typer.Option(
            help="Client id of a user-assigned identity; may be repeated. Without it every client id is valid."
        ),
    ] = None,
    lifetime: Annotated[int, typer.Option(min=1, help="Lifetime of the tokens, in seconds.")] = 86_400,
    refuse: Annotated[
        list[str] | None, typer.Option(help="Resource for which no token is issued; may be repeated.")
    ] = None,
    misdirect: Annotated[bool, typer.Option("--misdirect", help="Issue tokens that no service accepts.")] = False,
) -> None:
    """Run a fake managed identity endpoint until Ctrl-C."""
    if not header:
        header = secrets.token_hex(16)
        typer.echo(f"IDENTITY_HEADER={header}")
    issuer = TokenIssuer(tuple(client_id or ()), lifetime, tuple(refuse or ()), misdirect)
    run_until_signal(_serve(TokenEndpoint(issuer, header), port))


async def _serve(endpoint: TokenEndpoint, port: int) -> None:
    async with serving(endpoint, port, SHUTDOWN_GRACE_SECONDS) as url:
        typer.echo(f"identity ready: {url}/msi/token")
        await asyncio.Event().wait()
