"""How calls to the storage account are sent: one pool of connections for blobs, queues and tables."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from azure.core.pipeline.transport import AioHttpTransport
from typing_extensions import override

from pipeline.errors import PermanentError
from pipeline.http_connections import new_session

CONNECT_SECONDS = 5
READ_SECONDS = 30


class Transport(AioHttpTransport):  # type: ignore[misc]  # resolved at run time by its package
    """The SDK's own, with our connections, and for addresses that mean what they say."""

    def __init__(self) -> None:
        super().__init__(connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS)

    @override
    async def open(self) -> None:
        """Make the session when the first call is sent, in the loop where that happens."""
        if not self.session and not self._has_been_opened:  # type: ignore[has-type]
            self.session = new_session()
        await super().open()

    @override
    async def send(self, request: Any, **options: Any) -> Any:
        """Send, unless the address would be resolved to another one on the way: names come from anybody.

        PermanentError of kind `bad_name`. Were it sent, `../other/secret` would be a blob of another container.
        """
        steps = unquote(urlsplit(request.url).path).replace("\\", "/").split("/")
        if "." in steps or ".." in steps:
            raise PermanentError("a blob's name may have no part that is . or ..: rename it", kind="bad_name")
        return await super().send(request, **options)
