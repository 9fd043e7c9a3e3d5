"""Stall timeouts with backpressure: end a transfer that makes no progress, never one that is merely slow."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import httpx

# The deadline moves on after this many bytes, and no larger chunk is handed on.
CHUNK_BYTES = 256 * 1024


async def with_stall_timeout(chunks: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """Yield the chunks. Raises httpx.ReadTimeout when the next chunk, or the end, takes longer than `seconds`.

    With chunks of CHUNK_BYTES, a server that sends one byte a second is cut off.
    """
    while True:
        try:
            async with asyncio.timeout(seconds):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise httpx.ReadTimeout(f"fewer than {CHUNK_BYTES} bytes in {seconds:g} s") from None
        if chunk is None:
            return
        yield chunk


class StallTimeout:
    """Deadline for one request that moves on with each chunk that the server accepts.

    Chunks are read only as fast as the server accepts them (backpressure), and the deadline is off while the next chunk
    is fetched: a slow source is not the server's fault.
    """

    def __init__(self, timeout: float) -> None:
        """Create a deadline of `timeout` seconds per chunk."""
        self._timeout = timeout
        self._deadline = asyncio.timeout(None)

    @asynccontextmanager
    async def enforced(self) -> AsyncIterator[None]:
        """Enforce the deadline within the block. Raises httpx.WriteTimeout when it passes."""
        self._deadline = asyncio.timeout(self._timeout)
        try:
            async with self._deadline:
                yield
        except TimeoutError:
            raise httpx.WriteTimeout(f"no progress in {self._timeout:g} s") from None

    @asynccontextmanager
    async def chunks_of(
        self, chunks: Callable[[], AsyncIterator[bytes]] | None
    ) -> AsyncIterator[AsyncIterator[bytes] | None]:
        """Yield the body in chunks that move the deadline on; close its source at the end, even if not all was sent."""
        body = self._split(chunks) if chunks else None
        try:
            yield body
        finally:
            if body:
                # A task of a cancelled client may still iterate; it ends soon.
                with suppress(RuntimeError):
                    await body.aclose()

    async def _split(self, chunks: Callable[[], AsyncIterator[bytes]]) -> AsyncGenerator[bytes, None]:
        self._deadline.reschedule(None)
        async for chunk in chunks():
            view = memoryview(chunk)
            while view:
                self._restart()
                yield bytes(view[:CHUNK_BYTES]) if len(view) > CHUNK_BYTES else bytes(view)
                view = view[CHUNK_BYTES:]
            self._deadline.reschedule(None)
        self._restart()

    def _restart(self) -> None:
        self._deadline.reschedule(asyncio.get_running_loop().time() + self._timeout)
