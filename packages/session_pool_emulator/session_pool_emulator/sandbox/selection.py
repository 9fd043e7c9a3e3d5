"""Selection of the sandbox: the first kind that starts on this machine."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from session_pool_emulator.sandbox.process import SandboxError
from session_pool_emulator.settings import SandboxKind

Started = TypeVar("Started")

_KINDS_BY_ISOLATION = (SandboxKind.BWRAP, SandboxKind.UNSHARE, SandboxKind.PROCESS)
_PROCESS_WARNING = (
    "warning: sessions run as plain processes with resource limits only, without a sandbox: they can read this "
    "machine's files and reach the network ({reasons}). Install bubblewrap to isolate them."
)


async def select_sandbox(
    requested: SandboxKind, start: Callable[[SandboxKind], Awaitable[Started]]
) -> tuple[SandboxKind, Started]:
    """Start a sandbox of the requested kind; for `AUTO`, try the kinds from the strongest isolation to the weakest.

    Returns:
        The kind that started, and the result of `start`.

    Raises:
        SandboxError: No kind started; the message has the error of each.
    """
    reasons: list[str] = []
    for kind in _KINDS_BY_ISOLATION if requested is SandboxKind.AUTO else (requested,):
        try:
            started = await start(kind)
        except SandboxError as error:
            reasons.append(f"{kind}: {error}")
            continue
        if kind is SandboxKind.PROCESS:
            reason = "; ".join(reasons) or "--sandbox process"
            print(_PROCESS_WARNING.format(reasons=reason), file=sys.stderr, flush=True)  # noqa: T201
        return kind, started
    raise SandboxError(f"no sandbox starts on this machine; {'; '.join(reasons)}")
