"""Which kind of sandbox works on this machine: found by starting one."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from devstack.session_pool.sandbox.process import Sandbox, SandboxError
from devstack.session_pool.sandbox.view import View
from devstack.session_pool.sandbox.wrappers import Place
from devstack.session_pool.settings import PoolSettings, SandboxKind

_BEST_FIRST = (SandboxKind.BWRAP, SandboxKind.UNSHARE, SandboxKind.PROCESS)
_WARNING = (
    "warning: sessions run as plain processes with resource limits only, without a sandbox: they can read this "
    "machine's files and reach the network ({reasons}). Install bubblewrap to change that."
)


async def choose(settings: PoolSettings, view: View, folder: Path) -> SandboxKind:
    """The kind that `settings` asks for, or the best that starts here. Raises SandboxError when none does."""
    kinds: Iterable[SandboxKind] = _BEST_FIRST if settings.sandbox is SandboxKind.AUTO else (settings.sandbox,)
    reasons: list[str] = []
    for number, kind in enumerate(kinds):
        try:
            async with _trial(kind, settings, view, Place(folder / f"trial-{number}", number)):
                _warn(kind, reasons)
                return kind
        except (SandboxError, TimeoutError) as error:
            reasons.append(f"{kind}: {error}")
    raise SandboxError(f"no session can start here; {'; '.join(reasons)}")


@asynccontextmanager
async def _trial(kind: SandboxKind, settings: PoolSettings, view: View, place: Place) -> AsyncIterator[None]:
    sandbox = Sandbox(kind, replace(settings, preload=()), view, place)
    await sandbox.start()
    try:
        yield
    finally:
        await sandbox.stop()


def _warn(kind: SandboxKind, reasons: list[str]) -> None:
    if kind is SandboxKind.PROCESS:
        print(_WARNING.format(reasons="; ".join(reasons) or "as asked"), file=sys.stderr, flush=True)  # noqa: T201
