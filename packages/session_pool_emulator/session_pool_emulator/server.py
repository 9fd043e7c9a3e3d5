"""HTTP server of a pool: announces that it is ready, and shuts down cleanly on SIGINT and SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from session_pool_emulator.log import AccessLog
from session_pool_emulator.pool import Pool
from session_pool_emulator.settings import PoolSettings
from session_pool_emulator.tls import write_certificate
from session_pool_emulator.web import app

_SHUTDOWN_TIMEOUT_SECONDS = 3


class _Protocol(HttpToolsProtocol):
    """HTTP protocol that passes the transport to the application, for faults that break the connection."""

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Add the transport to the state of the requests."""
        super().connection_made(transport)
        self.app_state = self.app_state | {"transport": transport}


class _Server(uvicorn.Server):
    """Uvicorn server that leaves signals to `serve`, so that SIGTERM exits with 0."""

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signals."""
        yield


async def serve(settings: PoolSettings, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve a pool until SIGINT or SIGTERM. `on_ready` is called with the URL when the server accepts connections.

    Raises:
        SandboxError: No sandbox works on this machine.
        OSError: The port is in use, or a file cannot be written.
    """
    listener = _listen(host, port)
    log = AccessLog(settings.log_file)
    pool = Pool(settings, log)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        await pool.start()
        with _tls_key_file(settings, host) as key_file:
            config = _server_config(pool, key_file)
            on_ready(_url(listener, "https" if settings.tls_certificate else "http"))
            await _serve(pool, listener, stop, _Server(config))
    finally:
        await pool.close()
        listener.close()
        log.close()


@contextlib.contextmanager
def _tls_key_file(settings: PoolSettings, host: str) -> Iterator[Path | None]:
    """Yield the key file of the certificate; create both if only the certificate file is configured.

    The created key is in a private temporary folder for as long as the server runs.
    """
    if settings.tls_certificate is None or settings.tls_key:
        yield settings.tls_key
        return
    with tempfile.TemporaryDirectory() as folder:
        key_file = Path(folder, "key.pem")
        write_certificate(host, settings.tls_certificate, key_file)
        yield key_file


def _server_config(pool: Pool, key_file: Path | None) -> uvicorn.Config:
    """Return the configuration of the server. Loading it reports an unusable certificate before the server is ready."""
    config = uvicorn.Config(
        app.build_app(pool),
        http=_Protocol,
        access_log=False,
        log_level="warning",
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT_SECONDS,
        ssl_certfile=pool.settings.tls_certificate,
        ssl_keyfile=key_file,
    )
    config.load()
    return config


async def _serve(pool: Pool, listener: socket.socket, stop: asyncio.Event, server: _Server) -> None:
    """Serve until `stop` is set or the server ends."""
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    server.should_exit = True
    await pool.close()  # first, so that running calls get a response before their connections close
    await serving


def _listen(host: str, port: int) -> socket.socket:
    """Create a listening socket. Its connections send at once: otherwise responses take 40 ms longer."""
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _url(listener: socket.socket, scheme: str) -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
