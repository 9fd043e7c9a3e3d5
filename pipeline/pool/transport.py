"""How calls to the session pool are sent: httpx's interface, over the connections that storage has, too.

httpx's own transport looks at every idle connection for every call; with dozens of them that takes longer than the
call (docs/performance.md, "Profiles").
"""

from __future__ import annotations

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from pipeline.http_connections import new_session

NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class Transport(AiohttpTransport):
    """One client for the process, made in the loop of the first call."""

    def __init__(self) -> None:
        super().__init__(client=lambda: new_session(self.ssl_context))


def never_sent(error: Exception) -> bool:
    """Whether no connection was made at all. A connection that broke in use is called a connect timeout, too."""
    cause = error if isinstance(error, aiohttp.ClientError) else error.__cause__
    if isinstance(cause, aiohttp.ClientError):
        return isinstance(cause, NOT_SENT)
    return isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
