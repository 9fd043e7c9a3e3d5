"""HTTP server of a pool: announces that it is ready, shuts down cleanly on SIGINT and SIGTERM, signs certificates."""

import asyncio
import contextlib
import ipaddress
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from session_pool_emulator.log import AccessLog
from session_pool_emulator.pool import Pool
from session_pool_emulator.settings import PoolSettings
from session_pool_emulator.web import app

_VALIDITY_DAYS = 30


def write_certificate(host: str, certificate_file: Path, key_file: Path) -> None:
    """Write a self-signed certificate and its private key as PEM files.

    The certificate is valid for 30 days, for `host`, localhost, 127.0.0.1 and ::1. The key file has mode 0600.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    certificate_file.write_bytes(_sign_certificate(host, key).public_bytes(serialization.Encoding.PEM))


def _sign_certificate(host: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Create the certificate for `key`."""
    serial = x509.random_serial_number()
    # OpenSSL looks up trusted certificates by subject name, so each certificate needs a unique one.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"this machine {serial:x}"[:64])])
    now = datetime.now(UTC)
    hosts = dict.fromkeys((host, "localhost", "127.0.0.1", "::1"))
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=_VALIDITY_DAYS))
        .add_extension(x509.SubjectAlternativeName(map(_general_name, hosts)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    """Convert an IP address or a host name to a subject alternative name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


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
