"""Fast tests: in-memory storage and a fake session pool, in place of Azurite and of sessions.

A test that uses them starts no process. The storage keeps the service's rules (ETags, conditions, leases, hidden
messages, transactions, pages); the pool runs the real engine in the test's own process:

    >>> import asyncio, io
    >>> from PIL import Image
    >>> from pipeline.testing import memory_services, memory_settings
    >>>
    >>> RECIPES = '''
    ... recipes:
    ...   web:
    ...     match: {include: ["photos/**"]}
    ...     renditions:
    ...       small: {format: webp, transforms: [{resize: {width: 200}}]}
    ... '''
    >>>
    >>> async def example():
    ...     photo = io.BytesIO()
    ...     Image.new("RGB", (800, 600), "navy").save(photo, "JPEG")
    ...     async with memory_services(memory_settings(), RECIPES) as services:
    ...         await services.sources.put("input", "photos/a.jpg", photo.getvalue(), "image/jpeg")
    ...         entry = await services.executor.execute("input", "photos/a.jpg", services.recipes.get("web"))
    ...         return entry.state, [(one["path"], one["width"], one["height"]) for one in entry.renditions]
    >>>
    >>> asyncio.run(example())
    ('done', [('web/photos/a.jpg/small.webp', 200, 150)])

To inject faults, pass an account or a pool, and name the operations that fail:

    >>> from pipeline.testing import FakePool, MemoryAccount, pool
    >>> account, sessions = MemoryAccount(), FakePool()
    >>> account.fail("blob.put output/", 503, "ServerBusy")
    >>> sessions.fail("POST executions", pool.TIMED_OUT, times=2)
"""

from pipeline.testing.account import MemoryAccount
from pipeline.testing.clients import NO_RESPONSE
from pipeline.testing.pool import FakePool
from pipeline.testing.services import memory_services, memory_settings

__all__ = ["NO_RESPONSE", "FakePool", "MemoryAccount", "memory_services", "memory_settings"]
