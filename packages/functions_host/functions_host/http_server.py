"""Serve an ASGI application on 127.0.0.1 inside a running event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator

import uvicorn
from starlette.types import ASGIApp

from functions_host.errors import HostError

LOOPBACK_ADDRESS = "127.0.0.1"


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, port: int, grace: float) -> AsyncIterator[str]:
    """Serve `app` until the block ends, and yield the base URL. Port 0 selects a free port.

    At the end, open requests have `grace` seconds (at least 1) to finish.

    Raises:
        HostError: The port is in use.
    """
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(grace)),
    )
    # Server.serve() would install signal handlers. The program that runs the event loop handles signals.
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    try:
        listener = socket.create_server((LOOPBACK_ADDRESS, port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise HostError(f"port {port} cannot be used ({reason}): choose another with --port") from None
    # Connections inherit the option. asyncio does not set it here, and a response would wait for the previous ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with listener:
        await server.startup([listener])
        main_loop = asyncio.create_task(server.main_loop())
        try:
            yield f"http://{LOOPBACK_ADDRESS}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await main_loop
            await server.shutdown([listener])
