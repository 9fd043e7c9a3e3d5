"""How an answer is wanted: `Prefer` (RFC 7240) and `Accept` (RFC 9110)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from pipeline.api.http import Request
from pipeline.settings import Settings


@dataclass(frozen=True)
class Preferences:
    """`wait` in seconds, 0 for an answer at once; `image` when an image is liked better than JSON."""

    wait: float
    image: bool
    asked_wait: bool
    asked_async: bool

    @classmethod
    def of(cls, call: Request, settings: Settings) -> Self:
        """Read the headers; what is not understood is left out, as RFC 7240 wants it."""
        prefer = call.header("prefer").lower()
        asked = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,4})\b", prefer)
        at_once = re.search(r"(?:^|[,;\s])respond-async\b", prefer) is not None
        wait = min(float(asked.group(1)), settings.http_sync_wait) if asked else settings.http_sync_wait
        if at_once and not asked:
            wait = 0
        return cls(wait, _likes_images(call.header("accept")), asked is not None, at_once)

    def applied(self, *, accepted: bool) -> dict[str, str]:
        """The header that says which preferences counted; `accepted` when the answer came before the job's end."""
        words = [f"wait={self.wait:.0f}"] if self.asked_wait else []
        words += ["respond-async"] if self.asked_async and accepted else []
        return {"Preference-Applied": ", ".join(words)} if words else {}


def _likes_images(accept: str) -> bool:
    """Whether the best of the accepted types is an image; among equals the first counts."""
    found = [_range(each) for each in accept.lower().split(",") if each.strip()]
    best = max(found, key=lambda each: each[1], default=("", 0.0))
    return best[0].startswith("image/") and best[1] > 0


def _range(text: str) -> tuple[str, float]:
    kind, *parameters = (part.strip() for part in text.split(";"))
    weight = next((part[2:].strip() for part in parameters if part.startswith("q=")), "1")
    return kind, float(weight) if re.fullmatch(r"[01](\.\d{0,3})?", weight) else 0.0
