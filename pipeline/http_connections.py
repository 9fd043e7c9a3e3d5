"""Outgoing HTTP connections, kept alive, unlimited in number, without cookies; and the header Retry-After."""

import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.request import getproxies

import aiohttp

# Close an idle connection after this many seconds.
KEEPALIVE_SECONDS = 60
MAX_RETRY_AFTER_SECONDS = 24 * 3600.0


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


def parse_retry_after(text: str) -> float | None:
    """Parse a Retry-After header (seconds, or a date): the delay in seconds, at most a day; None if it is absent."""
    if text.isdecimal():
        return min(float(text), MAX_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
