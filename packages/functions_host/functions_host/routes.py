"""Route templates of HTTP triggers: `jobs/{id:int?}`, `files/{*path}`. As in ASP.NET, matching ignores case."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from functions_host.errors import HostError
from functions_host.functions import Function

CONSTRAINT_PATTERNS = {
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
    """A compiled route of a function. An empty set of methods allows all; routes are tried in order of precedence."""

    function: Function
    methods: frozenset[str]
    pattern: re.Pattern[str]
    precedence: tuple[int, ...]

    def match(self, path: str) -> dict[str, str] | None:
        """Return the route parameters if the percent-encoded path matches."""
        match = self.pattern.fullmatch(path.strip("/"))
        return {key: unquote(value) for key, value in match.groupdict().items() if value} if match else None


def compile_route(function: Function, prefix: str) -> Route:
    """Compile the route of an HTTP trigger below `prefix`.

    Raises:
        HostError: The route has an unsupported constraint.
    """
    template = function.trigger.get("route") or function.name
    segments = [*filter(None, prefix.split("/")), *filter(None, template.split("/"))]
    try:
        pattern = "".join(_segment_pattern(segment, first=index == 0) for index, segment in enumerate(segments))
        compiled = re.compile(pattern, re.IGNORECASE)
    except (KeyError, re.error) as error:
        raise HostError(f"{function.name}: the route '{template}' has an unsupported part: {error}") from None
    methods = frozenset(method.upper() for method in function.trigger.get("methods", []))
    return Route(function, methods, compiled, tuple(_precedence(segment) for segment in segments))


def _segment_pattern(segment: str, *, first: bool) -> str:
    slash = "" if first else "/"
    parameter = PARAMETER.fullmatch(segment)
    if parameter and parameter[1]:
        return f"(?:{slash}(?P<{parameter[2]}>.*))?"
    if parameter and parameter[4]:
        return f"(?:{slash}(?P<{parameter[2]}>{CONSTRAINT_PATTERNS[parameter[3] or '']}))?"
    return slash + _mixed_segment_pattern(segment)


def _mixed_segment_pattern(segment: str) -> str:
    """Return the pattern of a segment with literals and parameters, such as `{name}.{format}`."""
    parts = []
    end = 0
    for match in PARAMETER.finditer(segment):
        parts += [
            _literal_pattern(segment[end : match.start()]),
            f"(?P<{match[2]}>{CONSTRAINT_PATTERNS[match[3] or '']})",
        ]
        end = match.end()
    return "".join([*parts, _literal_pattern(segment[end:])])


def _literal_pattern(text: str) -> str:
    if "{" in text or "}" in text:
        raise KeyError(text)
    return re.escape(text)


def _precedence(segment: str) -> int:
    """Return 0 for a literal, 1 for a parameter with a constraint, 2 for one without, 3 for a catch-all."""
    parameter = PARAMETER.search(segment)
    if not parameter:
        return 0
    return 3 if parameter[1] else 1 if parameter[3] else 2
