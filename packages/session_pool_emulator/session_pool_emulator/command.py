"""`python -m devstack session-pool`: the pool alone, in the foreground."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from session_pool_emulator.faults import Fault
from session_pool_emulator.sandbox.process import SandboxError
from session_pool_emulator.server import serve
from session_pool_emulator.settings import MIB, CapacityAnswer, PoolSettings, SandboxKind, SandboxLimits


def command(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 0,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    max_sessions: Annotated[int, typer.Option(help="How many sessions there may be at once.", min=1, max=600)] = 5,
    spares: Annotated[int, typer.Option(help="Warm interpreters kept for the next identifiers.", min=0, max=100)] = 2,
    cooldown: Annotated[float, typer.Option(help="Seconds of idleness after which a session ends.", min=0.1)] = 300,
    sandbox: Annotated[SandboxKind, typer.Option(help="How sessions are shut in.")] = SandboxKind.AUTO,
    memory: Annotated[int, typer.Option(help="MiB of memory per session.", min=128)] = 1024,
    data: Annotated[int, typer.Option(help="MiB that a session's /mnt/data holds.", min=1)] = 1024,
    max_run: Annotated[float, typer.Option(help="Seconds that one execution may take at most.", min=0.1)] = 220,
    max_upload: Annotated[int, typer.Option(help="MiB that one uploaded file may have.", min=1)] = 128,
    name: Annotated[str, typer.Option(help="The pool's name, in messages.")] = "local",
    capacity_answer: Annotated[
        CapacityAnswer, typer.Option(help="What a call gets when every session is taken.")
    ] = CapacityAnswer.ALLOCATION,
    require_token: Annotated[
        bool, typer.Option("--require-token", help="Ask for bearer tokens for https://dynamicsessions.io.")
    ] = False,
    tls: Annotated[
        Path | None, typer.Option(help="Serve https; the certificate for clients to trust is written to this file.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="Key of the certificate that FILE of --tls holds already.", exists=True)
    ] = None,
    fault: Annotated[
        list[str] | None, typer.Option(help="KIND or KIND:key=value,…; may be given more than once.")
    ] = None,
    fault_seed: Annotated[int, typer.Option(help="The same seed and calls give the same faults.")] = 0,
    admin: Annotated[
        bool, typer.Option("--admin", help="Have /.admin/faults, to change faults while running.")
    ] = False,
    packages: Annotated[
        Path | None,
        typer.Option(
            help="Folder of Python packages that sessions have besides this Python's: what a custom image brings.",
            exists=True,
            file_okay=False,
            resolve_path=True,
        ),
    ] = None,
    log: Annotated[Path | None, typer.Option(help="File for the access log; standard error without it.")] = None,
) -> None:
    """Serve the data-plane API of an Azure Container Apps session pool, with a sandboxed Python per session."""
    settings = PoolSettings(
        name=name,
        max_sessions=max_sessions,
        spares=spares,
        cooldown=cooldown,
        sandbox=sandbox,
        limits=SandboxLimits(memory=memory * MIB, data=data * MIB),
        max_run=max_run,
        max_upload=max_upload * MIB,
        log=log,
        capacity_answer=capacity_answer,
        faults=_parse_faults(fault or []),
        fault_seed=fault_seed,
        require_token=require_token,
        admin=admin,
        tls=tls,
        tls_key=tls_key,
        packages=packages,
    )
    gc.freeze()
    try:
        uvloop.run(serve(settings, host, port, _say_ready))
    except (SandboxError, OSError) as error:
        typer.echo(f"session pool: {error}", err=True)
        raise typer.Exit(1) from None


def _parse_faults(texts: list[str]) -> tuple[Fault, ...]:
    try:
        return tuple(map(Fault.parse, texts))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--fault") from None


def _say_ready(address: str) -> None:
    typer.echo(f"session pool ready: {address}")
