"""A stand-in for the managed identity of an app: the token endpoint of Azure Functions and App Service, on loopback.

The SDKs find it by the environment variables IDENTITY_ENDPOINT and IDENTITY_HEADER. Its tokens are not signed: they
are good for Azurite (`--oauth basic`, https) and for the local session pool (`--require-token`), and nowhere else.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Annotated

import typer

from devstack import foreground
from devstack.identity.endpoint import Endpoint
from devstack.identity.tokens import Issuer
from devstack.serving import serving

READY = "identity ready: {address}/msi/token"


def command(
    port: Annotated[int, typer.Option(help="0 is any free port.")] = 0,
    header: Annotated[
        str, typer.Option(help="What IDENTITY_HEADER is to be; made up when not given.", envvar="IDENTITY_HEADER")
    ] = "",
    client_id: Annotated[
        list[str] | None, typer.Option(help="Client id of a user-assigned identity; any is one when none is given.")
    ] = None,
    lifetime: Annotated[int, typer.Option(min=1, help="Seconds that a token is good for.")] = 86_400,
    refuse: Annotated[
        list[str] | None, typer.Option(help="A resource that the identity gets no token for; may be repeated.")
    ] = None,
    misdirect: Annotated[bool, typer.Option("--misdirect", help="Give tokens that nobody accepts.")] = False,
) -> None:
    """Give tokens of a managed identity that does not exist, until Ctrl-C."""
    if not header:
        header = secrets.token_hex(16)
        typer.echo(f"IDENTITY_HEADER={header}")
    issuer = Issuer(tuple(client_id or ()), lifetime, tuple(refuse or ()), misdirect)
    foreground.run(_serve(Endpoint(issuer, header), port))


async def _serve(endpoint: Endpoint, port: int) -> None:
    async with serving(endpoint, port, grace=1) as address:
        typer.echo(READY.format(address=address))
        await asyncio.Event().wait()
