"""Connections that go out of the process: kept alive, as many as are needed, without cookies."""

from __future__ import annotations

import ssl
from urllib.request import getproxies

import aiohttp

# How long an idle connection is kept, in seconds.
KEPT = 60


def new_session(context: ssl.SSLContext | None = None) -> aiohttp.ClientSession:
    """A client in the loop that runs, with TLS as `context` has it (or the SDK that uses it says).

    A proxy that the environment names is heeded. Nothing else of the environment is: `.netrc` would be read anew, in
    another thread, for every call, which is a quarter of what a call costs.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT, ssl=True if context is None else context),
        trust_env=bool(getproxies()),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )
