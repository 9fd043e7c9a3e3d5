"""HTTP transport of the session pool's client: httpx's interface on aiohttp's connections, which storage uses too.

httpx's own transport inspects every idle connection for every call. With dozens of connections that takes longer than
the call (docs/performance.md, "Profiles").
"""

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from pipeline.http_connections import new_session

NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class Transport(AiohttpTransport):
    """Transport with one HTTP client per process, created in the event loop of the first call."""

    def __init__(self) -> None:
        """Create the transport without a connection."""
        super().__init__(client=lambda: new_session(self.ssl_context))


def never_sent(error: Exception) -> bool:
    """Return whether no connection was made.

    The cause of the error decides, because httpx reports a broken connection as a connect timeout, too.
    """
    cause = error if isinstance(error, aiohttp.ClientError) else error.__cause__
    if isinstance(cause, aiohttp.ClientError):
        return isinstance(cause, NOT_SENT)
    return isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
