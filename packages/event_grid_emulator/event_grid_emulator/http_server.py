"""Serve an ASGI application on 127.0.0.1 inside a running event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import uvicorn
from starlette.types import ASGIApp

from event_grid_emulator.errors import EventGridError

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
