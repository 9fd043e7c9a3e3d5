"""Settings of the console and the HTTP API."""

from typing import Literal

from pydantic import Field

from pipeline.settings.area import MIB, Area


class ConsoleSettings(Area):
    """Access to the console."""

    console_access: Literal["keys", "app_service", "open", "off"] = Field(
        "keys",
        description="Access to /api/console: holders of the console's function keys (keys); users that App Service "
        "authentication has signed in, by role (app_service); every client on this machine (open: emulator only); "
        "none (off).",
    )
    console_session_hours: float = Field(
        8, ge=0.1, le=168, description="Lifetime of a console sign-in with a function key, in hours."
    )
    console_reader_role: str = Field(
        "Console.Read", description="App role with read access to the console (app_service)."
    )
    console_writer_role: str = Field(
        "Console.Write", description="App role with write access to the console (app_service)."
    )


class HttpSettings(Area):
    """HTTP requests and their memory."""

    http_sync_wait: float = Field(
        60, ge=0, le=200, description="Maximum wait of a request for its job; then the response is 202."
    )
    http_max_body_bytes: int = Field(
        100 * MIB, ge=MIB, le=100 * MIB, description="Maximum size of the body of an HTTP request."
    )
    http_max_response_bytes: int = Field(
        32 * MIB, ge=1, le=100 * MIB, description="Maximum size of an image in an HTTP response."
    )
    http_memory_bytes: int = Field(
        512 * MIB, ge=MIB, description="Memory of a process for bodies of HTTP requests and responses; above it, 503."
    )
    http_concurrency: int = Field(
        0, ge=0, le=1000, description="Concurrent requests of an instance (the template sets it; 0: unknown)."
    )
    instance_memory_mib: int = Field(
        0, ge=0, le=65_536, description="Memory of an instance in MiB (the template sets it; 0: unknown)."
    )
    preview_timeout: float = Field(
        60, ge=1, le=200, description="Timeout of a preview, including the wait for a session."
    )
    idempotency_ttl_hours: float = Field(
        24, ge=0.01, le=24 * 365, description="Lifetime of an Idempotency-Key, in hours."
    )
