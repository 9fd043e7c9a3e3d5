"""The HTTP server of the host: on 127.0.0.1, without signal handlers of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override

from devstack.errors import HostError

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
async def serving(app: ASGIApp, port: int, grace: float) -> AsyncIterator[str]:
    """Serve `app` for as long as the block lasts, on a free port when `port` is 0; hands over the address.

    At the end, requests have `grace` seconds to be answered.

    Raises:
        HostError: the port is taken.
    """
    patience = max(1, round(grace))
    config = uvicorn.Config(
        app, lifespan="off", ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=patience
    )
    server = _Server(config)
    with _listening(port) as listener:
        task = asyncio.create_task(server.serve([listener]))
        await server.serving.wait()
        try:
            yield f"http://{HOST}:{listener.getsockname()[1]}"
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
            raise HostError(f"port {port} cannot be used ({error.strerror}): choose another with --port") from None
        yield listener
