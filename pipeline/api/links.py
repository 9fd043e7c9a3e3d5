"""URLs within this API, under the path prefix of the current request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, urlencode, urlsplit


@dataclass(frozen=True)
class Links:
    """Builder of URLs without scheme and host, which hold behind any reverse proxy. `base` is the path prefix."""

    base: str = "/api"

    @classmethod
    def of(cls, url: str, path: str) -> Self:
        """Return the links for a request to `url` on the route `path`, such as `jobs/{id}`."""
        segments = urlsplit(url).path.rstrip("/").split("/")
        return cls("/".join(segments[: -len(path.split("/"))]))

    def to(self, *segments: str, **query: str | None) -> str:
        """Return the URL of a resource, with escaped segments and without query parameters that are None."""
        encoded = urlencode({name: value for name, value in query.items() if value is not None})
        path = "/".join([self.base, *(quote(segment, safe="") for segment in segments)])
        return f"{path}?{encoded}" if encoded else path
