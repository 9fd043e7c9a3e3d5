"""Deadlines that move on with the bytes: a peer that gives or takes one byte a second is cut off, a slow one is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import httpx

# What has to be moved between two deadlines, and the most that is handed on at once.
PIECE = 256 * 1024


async def with_stall_timeout(chunks: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """The chunks again, of which each, or the end, has to come within `seconds`; else httpx.ReadTimeout."""
    while True:
        try:
            async with asyncio.timeout(seconds):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise httpx.ReadTimeout(f"fewer than {PIECE} bytes in {seconds:g} s") from None
        if chunk is None:
            return
        yield chunk


class StallTimeout:
    """How long the other side may take, from one piece to the next."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline = asyncio.timeout(None)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Within this, httpx.TimeoutException ends what makes no progress."""
        self._deadline = asyncio.timeout(self._seconds)
        try:
            async with self._deadline:
                yield
        except TimeoutError:
            raise httpx.WriteTimeout(f"no progress in {self._seconds:g} s") from None

    @asynccontextmanager
    async def sending(
        self, chunks: Callable[[], AsyncIterator[bytes]] | None
    ) -> AsyncIterator[AsyncIterator[bytes] | None]:
        """The chunks in pieces. With the block, what they are read from is let go, even if not all was sent."""
        pieces = self._pieces(chunks) if chunks else None
        try:
            yield pieces
        finally:
            if pieces:
                # A client that was broken off may be in it still, in a task of its own that is about to end.
                with suppress(RuntimeError):
                    await pieces.aclose()

    async def _pieces(self, chunks: Callable[[], AsyncIterator[bytes]]) -> AsyncGenerator[bytes, None]:
        """The chunks in pieces. The deadline moves on with every piece, and stands still while chunks are fetched."""
        self._deadline.reschedule(None)
        async for chunk in chunks():
            view = memoryview(chunk)
            while view:
                self._start_anew()
                yield bytes(view[:PIECE]) if len(view) > PIECE else bytes(view)
                view = view[PIECE:]
            self._deadline.reschedule(None)
        self._start_anew()

    def _start_anew(self) -> None:
        self._deadline.reschedule(asyncio.get_running_loop().time() + self._seconds)
