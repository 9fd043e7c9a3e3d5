"""Addresses within this API: below whatever prefix the request itself came through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, urlencode, urlsplit


@dataclass(frozen=True)
class Links:
    """References without scheme and host, so that they hold behind any front door; `base` is the prefix."""

    base: str = "/api"

    @classmethod
    def of(cls, url: str, path: str) -> Self:
        """The links of a request for `url`, on the route `path` (`jobs/{id}`)."""
        segments = urlsplit(url).path.rstrip("/").split("/")
        return cls("/".join(segments[: -len(path.split("/"))]))

    def to(self, *segments: str, **query: str | None) -> str:
        """The address of something, its segments escaped; what is None in the query is left out."""
        asked = urlencode({name: value for name, value in query.items() if value is not None})
        path = "/".join([self.base, *(quote(segment, safe="") for segment in segments)])
        return f"{path}?{asked}" if asked else path

    def job(self, job_id: str) -> str:
        """The address of a job."""
        return self.to("jobs", job_id)

    def rendition(self, job_id: str, name: str) -> str:
        """The address of a rendition."""
        return self.to("jobs", job_id, "renditions", name)
