"""HTTP servers inside a part of the stack: on 127.0.0.1, without signal handlers of their own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override

from devstack.certificate import Certificate
from devstack.errors import PortError

HOST = "127.0.0.1"


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = asyncio.Event()

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.serving.set()

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # whoever runs the host decides when it stops


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp, port: int, grace: float, *, certificate: Certificate | None = None, keep_alive: int = 5
) -> AsyncIterator[str]:
    """Serve `app` for as long as the block lasts, on a free port when `port` is 0; hands over the address.

    With a certificate it is https. A connection may be quiet for `keep_alive` seconds. At the end, requests have
    `grace` seconds to be answered.

    Raises:
        PortError: the port is taken.
    """
    patience = max(1, round(grace))
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=patience,
        ssl_certfile=certificate.file if certificate else None,
        ssl_keyfile=certificate.key if certificate else None,
    )
    server = _Server(config)
    with _listening(port) as listener:
        task = asyncio.create_task(server.serve([listener]))
        await server.serving.wait()
        try:
            yield f"{'https' if certificate else 'http'}://{HOST}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


@contextlib.contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    # With the protocol named, asyncio sends answers at once; without it, each would wait for the last one's receipt.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise PortError(f"port {port} cannot be used ({error.strerror}): choose another with --port") from None
        yield listener
