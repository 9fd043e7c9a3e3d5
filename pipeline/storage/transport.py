"""HTTP transport of the storage clients: one connection pool for blobs, queues and tables."""

from typing import Any
from urllib.parse import unquote, urlsplit

from azure.core.pipeline.transport import AioHttpTransport
from typing_extensions import override

from pipeline.errors import PermanentError
from pipeline.http_connections import new_session

CONNECT_SECONDS = 5
READ_SECONDS = 30


class Transport(AioHttpTransport):  # type: ignore[misc]  # resolved at run time by its package
    """The SDK's transport with the pipeline's HTTP session; it refuses URLs whose path has relative parts."""

    def __init__(self) -> None:
        super().__init__(connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS)

    @override
    async def open(self) -> None:
        """Create the HTTP session at the first request, in the event loop that sends it."""
        if not self.session and not self._has_been_opened:  # type: ignore[has-type]
            self.session = new_session()
        await super().open()

    @override
    async def send(self, request: Any, **options: Any) -> Any:
        """Send a request unless an HTTP client would resolve its path to another URL; blob names come from users.

        Raises PermanentError of kind `bad_name`. Otherwise `../other/secret` would read a blob of another container.
        """
        steps = unquote(urlsplit(request.url).path).replace("\\", "/").split("/")
        if "." in steps or ".." in steps:
            raise PermanentError("the name of a blob must not have a part . or ..: rename the blob", kind="bad_name")
        return await super().send(request, **options)
