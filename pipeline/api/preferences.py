"""Client preferences of a request: `Prefer` (RFC 7240) and `Accept` (RFC 9110)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from pipeline.api.http import Request
from pipeline.settings import Settings


@dataclass(frozen=True)
class Preferences:
    """`wait` in seconds, 0 to respond at once; `image` is True if the client prefers an image to JSON."""

    wait: float
    image: bool
    wait_requested: bool
    async_requested: bool

    @classmethod
    def of(cls, request: Request, settings: Settings) -> Self:
        """Parse the headers; unknown preferences are ignored, as RFC 7240 requires."""
        prefer = request.header("prefer").lower()
        requested = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,4})\b", prefer)
        respond_async = re.search(r"(?:^|[,;\s])respond-async\b", prefer) is not None
        wait = min(float(requested.group(1)), settings.http_sync_wait) if requested else settings.http_sync_wait
        if respond_async and not requested:
            wait = 0
        return cls(wait, _prefers_images(request.header("accept")), requested is not None, respond_async)

    def applied(self, *, accepted: bool) -> dict[str, str]:
        """Return the header `Preference-Applied`; `accepted` if the response precedes the end of the job (202)."""
        words = [f"wait={self.wait:.0f}"] if self.wait_requested else []
        words += ["respond-async"] if self.async_requested and accepted else []
        return {"Preference-Applied": ", ".join(words)} if words else {}


def _prefers_images(accept: str) -> bool:
    """Return True if the accepted media type with the highest weight is an image; the first of equals counts."""
    ranges = [_media_range(each) for each in accept.lower().split(",") if each.strip()]
    best = max(ranges, key=lambda each: each[1], default=("", 0.0))
    return best[0].startswith("image/") and best[1] > 0


def _media_range(text: str) -> tuple[str, float]:
    """Parse a media range; return the media type and its weight."""
    media_type, *parameters = (part.strip() for part in text.split(";"))
    weight = next((part[2:].strip() for part in parameters if part.startswith("q=")), "1")
    return media_type, float(weight) if re.fullmatch(r"[01](\.\d{0,3})?", weight) else 0.0
