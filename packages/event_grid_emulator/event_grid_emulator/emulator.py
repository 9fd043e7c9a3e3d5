"""Compose and serve the emulator: proxy, control API and Event Grid."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import uvicorn
from starlette.types import ASGIApp

from event_grid_emulator.control_api import control_app
from event_grid_emulator.errors import EventGridError
from event_grid_emulator.faults import Faults
from event_grid_emulator.grid import EventGrid
from event_grid_emulator.upstream import Proxy, Upstream

LOOPBACK_ADDRESS = "127.0.0.1"
# Longer than any client keeps an idle connection: a server that closes one first may break a request on its way.
KEEP_ALIVE_TIMEOUT_SECONDS = 600
SHUTDOWN_GRACE_SECONDS = 5


class Certificate(NamedTuple):
    """A TLS certificate and its private key, as PEM files."""

    file: Path
    key: Path


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, port: int, certificate: Certificate | None = None) -> AsyncIterator[str]:
    """Serve `app` until the block ends, and yield the base URL.

    Port 0 selects a free port; a certificate enables https. At the end, open requests have 5 seconds to finish.

    Raises:
        EventGridError: The port is in use.
    """
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_TIMEOUT_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_SECONDS,
        ssl_certfile=certificate.file if certificate else None,
        ssl_keyfile=certificate.key if certificate else None,
    )
    # Server.serve() would install signal handlers. The program that runs the event loop handles signals.
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    try:
        listener = socket.create_server((LOOPBACK_ADDRESS, port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise EventGridError(f"port {port} cannot be used ({reason}): choose another with --port") from None
    # Connections inherit the option. asyncio does not set it here, and a response would wait for the previous ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with listener:
        await server.startup([listener])
        main_loop = asyncio.create_task(server.main_loop())
        try:
            yield f"{'https' if certificate else 'http'}://{LOOPBACK_ADDRESS}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await main_loop
            await server.shutdown([listener])


# The account of Azurite. Its key is published and the same on every machine: it is no secret.
AZURITE_URL = "http://127.0.0.1:10000"
AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True)
class EmulatorOptions:
    """Options of the emulator.

    Port 0 selects a free port, `pace` scales the retry delays, a certificate enables https.
    """

    emulator_url: str = AZURITE_URL
    port: int = 0
    faults: Faults = field(default_factory=Faults)
    pace: float = 1.0
    account: str = AZURITE_ACCOUNT
    key: str = AZURITE_KEY
    certificate: Certificate | None = None


@contextlib.asynccontextmanager
async def running(options: EmulatorOptions) -> AsyncIterator[tuple[str, EventGrid]]:
    """Run the emulator until the block ends. Yield the base URL that replaces the storage emulator's, and the grid."""
    async with (
        Upstream.open(options.emulator_url, options.account, options.key) as upstream,
        contextlib.aclosing(EventGrid(upstream, options.faults, options.pace)) as grid,
        serving(control_app(grid, Proxy(upstream, grid.on_operation)), options.port, options.certificate) as url,
    ):
        yield url, grid
