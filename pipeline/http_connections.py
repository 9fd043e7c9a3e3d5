"""Factory of outgoing HTTP connections: kept alive, unlimited in number, without cookies."""

import ssl
from urllib.request import getproxies

import aiohttp

# Close an idle connection after this many seconds.
KEEPALIVE_SECONDS = 60


def new_session(context: ssl.SSLContext | None = None) -> aiohttp.ClientSession:
    """Create an HTTP client in the running event loop.

    It honors a proxy from the environment, but not `.netrc`: aiohttp would read that file again, in another thread, for
    every call, which takes a quarter of a call's time.

    Args:
        context: TLS settings. None uses the default, or the settings of the SDK that makes the call.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, keepalive_timeout=KEEPALIVE_SECONDS, ssl=True if context is None else context
        ),
        trust_env=bool(getproxies()),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )
