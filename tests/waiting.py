"""Wait for the work of other processes."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def eventually(
    condition: Callable[[], object | Awaitable[object]],
    timeout: float = 15.0,  # noqa: ASYNC109
    every: float = 0.02,
) -> None:
    """Poll until `condition` holds. Fail after `timeout` seconds."""
    async with asyncio.timeout(timeout):
        while True:
            held = condition()
            if await held if inspect.isawaitable(held) else held:
                return
            await asyncio.sleep(every)
