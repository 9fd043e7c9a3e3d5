"""Preferences of a client: time to wait (RFC 7240), and JSON or an image (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pipeline.api.header_fields import HeaderField
from pipeline.api.http import Request
from pipeline.api.uploads import RENDITION_PARAMETER
from pipeline.errors import RequestError
from pipeline.recipes import Recipe
from pipeline.settings import Settings

JSON = "application/json"
# Java's default header has weights without the leading zero.
_WEIGHT = re.compile(r"0?\.\d{1,3}|0\.?|1(\.0{0,3})?")
# Limit of the time to parse a hostile header.
MAX_ACCEPT_CHARACTERS = 4096
_ELEMENT = re.compile(r'((?:[^,"]|"(?:[^"\\]|\\.)*")+)')


@dataclass(frozen=True)
class WaitPreference:
    """`seconds` to wait for a job, 0 to respond at once, and which preferences the request has named."""

    seconds: float
    wait_requested: bool
    async_requested: bool

    @classmethod
    def of(cls, request: Request, settings: Settings) -> Self:
        """Parse the header `Prefer`; unknown preferences are ignored, as RFC 7240 requires."""
        prefer = request.header("prefer").lower()
        requested = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,4})\b", prefer)
        respond_async = re.search(r"(?:^|[,;\s])respond-async\b", prefer) is not None
        seconds = min(float(requested.group(1)), settings.http_sync_wait) if requested else settings.http_sync_wait
        if respond_async and not requested:
            seconds = 0
        return cls(seconds, requested is not None, respond_async)

    def applied(self, *, accepted: bool) -> dict[str, str]:
        """Return the header `Preference-Applied`; `accepted` if the response precedes the end of the job (202)."""
        words = [f"wait={self.seconds:.0f}"] if self.wait_requested else []
        words += ["respond-async"] if self.async_requested and accepted else []
        return {"Preference-Applied": ", ".join(words)} if words else {}


@dataclass(frozen=True)
class Accept:
    """The media ranges of a header `Accept` with their weights, in their order. No range: everything is accepted."""

    ranges: tuple[tuple[str, float], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the header; malformed elements are ignored."""
        ranges = []
        for element in _ELEMENT.findall(text[:MAX_ACCEPT_CHARACTERS]):
            try:
                parsed = HeaderField.parse(element.strip())
            except ValueError:
                continue
            weight = parsed.parameters.get("q", "1")
            # Old clients send * for */*.
            media_range = "*/*" if parsed.value == "*" else parsed.value
            if "/" in media_range and _WEIGHT.fullmatch(weight):
                ranges.append((media_range, float(weight)))
        return cls(tuple(ranges))

    def weight(self, media_type: str) -> tuple[float, int]:
        """Return the weight of a media type by its most specific range, and the negated place of that range.

        The larger value is preferred: of two types with the same weight, the one whose range comes first.
        """
        if not self.ranges:
            return 1.0, 0
        patterns = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
        for pattern in patterns:
            for place, (each, weight) in enumerate(self.ranges):
                if each == pattern:
                    return weight, -place
        return 0.0, 0


@dataclass(frozen=True)
class ResultFormat:
    """Wanted form of a result: JSON with all renditions, or one rendition as an image.

    `rendition` is the rendition that the query chooses, or an empty string.
    """

    accept: Accept
    rendition: str

    @classmethod
    def of(cls, request: Request) -> Self:
        """Parse the header `Accept` and the query parameter `rendition`."""
        return cls(Accept.parse(request.header("accept")), request.query_parameters.get(RENDITION_PARAMETER, ""))

    def check(self, recipe: Recipe) -> None:
        """Check, before a job starts, if its result can be returned in an accepted media type.

        Raises:
            RequestError: Of kind `unknown_rendition` or `not_acceptable`.
        """
        names = [each.name for each in recipe.renditions]
        chosen = self.chosen(names)
        media_types = [kind for each in recipe.renditions if each.name == chosen for kind in each.content_types]
        if self.rendition and self.rendition not in names:
            raise RequestError(
                f"the recipe has no rendition {self.rendition[:60]!r}; it has {', '.join(names)}",
                kind="unknown_rendition",
            )
        if self._accepts(JSON) or any(map(self._accepts, media_types)):
            return
        if chosen is None:
            raise RequestError(
                f"Accept does not allow {JSON}, and the recipe has {len(names)} renditions: choose one with "
                f"?rendition=NAME ({', '.join(names)}), or accept {JSON}",
                kind="not_acceptable",
            )
        raise not_acceptable(media_types)

    def chosen(self, names: Sequence[str]) -> str | None:
        """Return the rendition that may be returned as an image: the chosen or the only one; None if there is none."""
        if self.rendition:
            return self.rendition if self.rendition in names else None
        return names[0] if len(names) == 1 else None

    def prefers_image(self, media_type: str) -> bool:
        """Return True if the client prefers an image of this type to JSON.

        JSON precedes an image if both match the same range, unless the query chooses a rendition.

        Raises:
            RequestError: Of kind `not_acceptable`, if the client accepts neither.
        """
        image, document = self.accept.weight(media_type), self.accept.weight(JSON)
        if image[0] == document[0] == 0:
            raise not_acceptable([media_type])
        if self.rendition:
            return image[0] >= document[0]
        return image > document

    def _accepts(self, media_type: str) -> bool:
        return self.accept.weight(media_type)[0] > 0


def not_acceptable(media_types: Sequence[str]) -> RequestError:
    """Return the error of a result that has none of the accepted media types."""
    types = " or ".join(dict.fromkeys(media_types))
    return RequestError(f"Accept allows neither {types} nor {JSON}: add one of them", kind="not_acceptable")
