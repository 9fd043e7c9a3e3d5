"""How calls to the storage account are sent: one pool of connections for blobs, queues and tables."""

from __future__ import annotations

from azure.core.pipeline.transport import AioHttpTransport
from typing_extensions import override

from pipeline.connections import new_session

CONNECT_SECONDS = 5
READ_SECONDS = 30


class Transport(AioHttpTransport):  # type: ignore[misc]  # resolved at run time by its package
    """The SDK's own, with our connections."""

    def __init__(self) -> None:
        super().__init__(connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS)

    @override
    async def open(self) -> None:
        """Make the session when the first call is sent, in the loop where that happens."""
        if not self.session and not self._has_been_opened:  # type: ignore[has-type]
            self.session = new_session()
        await super().open()
