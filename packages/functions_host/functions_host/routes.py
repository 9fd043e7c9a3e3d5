"""Route templates of HTTP triggers: `jobs/{id:int?}`, `files/{*path}`; matched regardless of case, as ASP.NET does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from devstack.errors import HostError
from devstack.host.functions import Function

CONSTRAINTS = {
    "": r"[^/]+",
    "int": r"-?\d+",
    "long": r"-?\d+",
    "alpha": r"[A-Za-z]+",
    "bool": r"(?i:true|false)",
    "guid": r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
}
PARAMETER = re.compile(r"\{(\*{0,2})(\w+)(?::(\w+))?(\?)?\}")


@dataclass(frozen=True)
class Route:
    """Where a function is served, and for which methods (none named: all)."""

    function: Function
    methods: frozenset[str]
    pattern: re.Pattern[str]
    rank: tuple[int, ...]

    def match(self, path: str) -> dict[str, str] | None:
        """The route's parameters when it fits a path, which is still percent-encoded."""
        found = self.pattern.fullmatch(path.strip("/"))
        return {key: unquote(value) for key, value in found.groupdict().items() if value} if found else None


def route(function: Function, prefix: str) -> Route:
    """Read the route of an HTTP trigger, below `prefix`.

    Raises:
        HostError: it has a constraint that this host does not know.
    """
    template = function.trigger.get("route") or function.name
    segments = [*filter(None, prefix.split("/")), *filter(None, template.split("/"))]
    try:
        pattern = "".join(_segment(segment, first=number == 0) for number, segment in enumerate(segments))
        compiled = re.compile(pattern, re.IGNORECASE)
    except (KeyError, re.error) as error:
        raise HostError(f"{function.name}: the route '{template}' has a part that is not known here: {error}") from None
    methods = frozenset(method.upper() for method in function.trigger.get("methods", []))
    return Route(function, methods, compiled, tuple(_rank(segment) for segment in segments))


def _segment(segment: str, *, first: bool) -> str:
    slash = "" if first else "/"
    whole = PARAMETER.fullmatch(segment)
    if whole and whole[1]:
        return f"(?:{slash}(?P<{whole[2]}>.*))?"
    if whole and whole[4]:
        return f"(?:{slash}(?P<{whole[2]}>{CONSTRAINTS[whole[3] or '']}))?"
    return slash + _mixed(segment)


def _mixed(segment: str) -> str:
    """A segment of literals and parameters, such as `{name}.{format}`."""
    parts = []
    end = 0
    for found in PARAMETER.finditer(segment):
        parts += [_literal(segment[end : found.start()]), f"(?P<{found[2]}>{CONSTRAINTS[found[3] or '']})"]
        end = found.end()
    return "".join([*parts, _literal(segment[end:])])


def _literal(text: str) -> str:
    if "{" in text or "}" in text:
        raise KeyError(text)
    return re.escape(text)


def _rank(segment: str) -> int:
    """Literals are tried before parameters with a constraint, those before others, and catch-alls last."""
    found = PARAMETER.search(segment)
    if not found:
        return 0
    return 3 if found[1] else 1 if found[3] else 2
