"""Sources of which only the names exist."""

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pipeline.storage import Listed

SOURCE_ETAG = "0x1"
_WRITTEN = datetime.now(UTC) - timedelta(days=30)


class NamedSources:
    """Sources with these names, which are in order. Each answer takes `latency` seconds."""

    deployment = 0

    def __init__(self, names: Sequence[str], latency: float = 0.0) -> None:
        self.names, self.latency = names, latency

    async def page(
        self,
        container: str,
        prefix: str = "",
        cursor: str = "",
        limit: int = 5000,
        *,
        tags: bool = False,
        start: str = "",
    ) -> tuple[list[Listed], str]:
        """Return a page of sources, as `Sources.page` does."""
        await asyncio.sleep(self.latency)
        first = int(cursor) if cursor else bisect_left(self.names, start)
        end = min(first + limit, len(self.names))
        page = [Listed(self.names[each], SOURCE_ETAG, 1000, "image/jpeg", _WRITTEN) for each in range(first, end)]
        return page, str(end) if end < len(self.names) else ""

    async def first_name(self, container: str, prefix: str, start: str) -> str:
        """Return the first name at or behind `start`, as `Sources.first_name` does."""
        await asyncio.sleep(self.latency)
        number = bisect_left(self.names, start)
        return self.names[number] if number < len(self.names) else ""
