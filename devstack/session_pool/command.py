"""`python -m devstack session-pool`: the pool alone, in the foreground."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Annotated

import typer

from devstack.session_pool.sandbox.process import SandboxError
from devstack.session_pool.server import serve
from devstack.session_pool.settings import MIB, PoolSettings, SandboxKind, SandboxLimits


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
    )
    gc.freeze()
    try:
        asyncio.run(serve(settings, host, port, _say_ready))
    except (SandboxError, OSError) as error:
        typer.echo(f"session pool: {error}", err=True)
        raise typer.Exit(1) from None


def _say_ready(address: str) -> None:
    typer.echo(f"session pool ready: {address}")
