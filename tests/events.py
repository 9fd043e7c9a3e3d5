"""Log events: those in the code, those listed in docs/operations.md, and those in queries."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "operations.md").read_text()
LEVELS = {name: name for name in ("debug", "info", "warning", "error", "critical")} | {"exception": "error"}
# Words of queries on lines of the Functions host, which have no event names.
HOST_WORDS = {"MaxDequeueCount", "poison"}


def log_calls() -> Iterator[tuple[str, ast.Call, str]]:
    """Yield the place, the call and the level of each log call in the deployed code."""
    for path in [ROOT / "function_app.py", *sorted((ROOT / "pipeline").rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "logging"), attr=level)) if level in LEVELS:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node, LEVELS[level]


def event_of(call: ast.Call) -> str | None:
    """Return the literal event name of a log call, or None without one."""
    for keyword in call.keywords:
        if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
            for key, value in zip(keyword.value.keys, keyword.value.values, strict=True):
                match key, value:
                    case ast.Constant(value="event"), ast.Constant(value=str(name)):
                        return name
    return None


@cache
def logged_events() -> dict[str, set[str]]:
    """Return the levels of each event that the code logs."""
    events: dict[str, set[str]] = defaultdict(set)
    for _, call, level in log_calls():
        if name := event_of(call):
            events[name].add(level)
    return dict(events)


def listed_events() -> dict[str, set[str]]:
    """Return the levels of each event in the table of docs/operations.md."""
    rows = re.findall(r"^\| `(\w+\.\w+)` \| ([a-z, ]+) \| \S.*\.(?: `\w+` .*)? \|$", PAGE, flags=re.MULTILINE)
    return {name: set(levels.split(", ")) for name, levels in rows}


def queries() -> list[str]:
    """Return the queries of docs/operations.md."""
    return re.findall(r"^traces \|.*$", PAGE, flags=re.MULTILINE)


def queried_events(query: str) -> list[str]:
    """Return the events that a query matches, by the prefix of the text or by the attribute."""
    return [name for pair in re.findall(r'"event=([^"]+)"|\.event == "([^"]+)"', query) for name in pair if name]


def host_queries() -> list[str]:
    """Return the queries that match only lines of the Functions host. docs/operations.md lists them as exceptions."""
    return [query for query in queries() if set(re.findall(r'"([^"]+)"', query)) <= HOST_WORDS]
