"""Command line of the emulator."""

import gc
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from session_pool_emulator.sandbox.process import SandboxError
from session_pool_emulator.server import serve
from session_pool_emulator.settings import MIB, CapacityResponse, Fault, PoolSettings, SandboxKind, SandboxLimits


def command(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 selects a free port.", min=0, max=65535)] = 0,
    host: Annotated[str, typer.Option(help="IP address to listen on.")] = "127.0.0.1",
    max_sessions: Annotated[int, typer.Option(help="Maximum number of concurrent sessions.", min=1, max=600)] = 5,
    spares: Annotated[int, typer.Option(help="Warm interpreters to keep for new sessions.", min=0, max=100)] = 2,
    cooldown: Annotated[float, typer.Option(help="Idle seconds after which a session ends.", min=0.1)] = 300,
    sandbox: Annotated[SandboxKind, typer.Option(help="Sandbox that isolates each session.")] = SandboxKind.AUTO,
    memory: Annotated[int, typer.Option(help="Memory limit of a session in MiB.", min=128)] = 1024,
    data: Annotated[int, typer.Option(help="Size of a session's /mnt/data in MiB.", min=1)] = 1024,
    max_run: Annotated[float, typer.Option(help="Maximum duration of an execution in seconds.", min=0.1)] = 220,
    max_upload: Annotated[int, typer.Option(help="Maximum size of an uploaded file in MiB.", min=1)] = 128,
    name: Annotated[str, typer.Option(help="Name of the pool in messages.")] = "local",
    capacity_answer: Annotated[
        CapacityResponse, typer.Option(help="Response when the pool is full.")
    ] = CapacityResponse.ALLOCATION,
    require_token: Annotated[
        bool, typer.Option("--require-token", help="Require a bearer token for https://dynamicsessions.io.")
    ] = False,
    tls: Annotated[
        Path | None, typer.Option(help="Serve HTTPS; write the certificate that clients must trust to this file.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="Private key of an existing certificate in the file of --tls.", exists=True)
    ] = None,
    fault: Annotated[
        list[str] | None, typer.Option(help="Inject a fault: KIND or KIND:key=value,… (repeatable).")
    ] = None,
    fault_seed: Annotated[int, typer.Option(help="Seed that makes the injected faults repeatable.")] = 0,
    admin: Annotated[bool, typer.Option("--admin", help="Serve /.admin/faults to change faults at run time.")] = False,
    packages: Annotated[
        Path | None,
        typer.Option(
            help="Folder of additional Python packages for sessions, such as those of a custom image.",
            exists=True,
            file_okay=False,
            resolve_path=True,
        ),
    ] = None,
    restart_kernel: Annotated[
        bool,
        typer.Option(
            "--restart-kernel",
            help="Restart the kernel process after each execution; files and background processes survive.",
        ),
    ] = False,
    log: Annotated[Path | None, typer.Option(help="File for the access log (default: standard error).")] = None,
) -> None:
    """Serve the data plane API of an Azure Container Apps session pool, with a sandboxed Python per session."""
    settings = PoolSettings(
        name=name,
        max_sessions=max_sessions,
        spares=spares,
        cooldown_seconds=cooldown,
        sandbox=sandbox,
        limits=SandboxLimits(memory_bytes=memory * MIB, data_bytes=data * MIB),
        max_execution_seconds=max_run,
        max_upload_bytes=max_upload * MIB,
        log_file=log,
        capacity_response=capacity_answer,
        faults=_parse_faults(fault or []),
        fault_seed=fault_seed,
        require_token=require_token,
        admin=admin,
        tls_certificate=tls,
        tls_key=tls_key,
        packages=packages,
        restart_kernel=restart_kernel,
    )
    gc.freeze()
    try:
        uvloop.run(serve(settings, host, port, lambda url: typer.echo(f"session pool ready: {url}")))
    except (SandboxError, OSError) as error:
        typer.echo(f"session pool: {error}", err=True)
        raise typer.Exit(1) from None


def _parse_faults(texts: list[str]) -> tuple[Fault, ...]:
    """Parse the values of --fault; report a wrong one as a usage error."""
    try:
        return tuple(map(Fault.parse, texts))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--fault") from None
