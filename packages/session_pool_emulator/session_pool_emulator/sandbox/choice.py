"""Which kind of sandbox works on this machine: found by starting one."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from session_pool_emulator.sandbox.process import SandboxError
from session_pool_emulator.settings import SandboxKind

Started = TypeVar("Started")

_BEST_FIRST = (SandboxKind.BWRAP, SandboxKind.UNSHARE, SandboxKind.PROCESS)
_WARNING = (
    "warning: sessions run as plain processes with resource limits only, without a sandbox: they can read this "
    "machine's files and reach the network ({reasons}). Install bubblewrap to change that."
)


async def choose(asked: SandboxKind, start: Callable[[SandboxKind], Awaitable[Started]]) -> tuple[SandboxKind, Started]:
    """The kind that is `asked` for, or the best that starts here, and what was started to find out.

    Raises SandboxError when none does.
    """
    reasons: list[str] = []
    for kind in _BEST_FIRST if asked is SandboxKind.AUTO else (asked,):
        try:
            started = await start(kind)
        except SandboxError as error:
            reasons.append(f"{kind}: {error}")
            continue
        if kind is SandboxKind.PROCESS:
            print(_WARNING.format(reasons="; ".join(reasons) or "as asked"), file=sys.stderr, flush=True)  # noqa: T201
        return kind, started
    raise SandboxError(f"no session can start here; {'; '.join(reasons)}")
