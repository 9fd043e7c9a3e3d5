"""YAML with places: plain data, and for each key path the line and the column where it stands.

The values are those of YAML 1.2's core schema: `16:9` is text (YAML 1.1 reads the number 969), and so are `no`, `on`
and dates. Each key may stand once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

KeyPath = tuple[str | int, ...]
MOST_NODES = 20_000
"""Aliases can make a short file endless; no recipe file is this long."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where it stands and what to change."""

    line: int
    column: int
    path: KeyPath
    message: str

    def text(self, file: str) -> str:
        """The problem on one line, as editors and terminals link it."""
        path = dotted(self.path)
        return f"{file}:{self.line}:{self.column}: {path + ': ' if path else ''}{self.message}"


class Problems(Exception):  # noqa: N818
    """Everything that is wrong with a file."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = problems


@dataclass
class Document:
    """Plain data and the places of its keys."""

    data: Any
    places: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)

    def problem(self, path: KeyPath, message: str) -> Problem:
        """A problem at `path`, or at the nearest place above it that stands in the file."""
        near = path
        while near and near not in self.places:
            near = near[:-1]
        line, column = self.places.get(near, (1, 1))
        return Problem(line, column, path, message)


def dotted(path: KeyPath) -> str:
    """A key path as people write it: recipes.web.transforms[0].crop."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def parse(text: str) -> Document:
    """The document in `text`. Raise Problems when it is not YAML, or a key stands twice."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        advice = "check the indentation, colons and quotes around here"
        raise Problems([Problem(line, column, (), f"not YAML: {error.problem or error.context}: {advice}")]) from None
    except yaml.YAMLError as error:
        raise Problems([Problem(1, 1, (), f"not YAML: {error}")]) from None
    reader = _Reader()
    data = reader.read(node, ()) if node is not None else None
    if reader.problems:
        raise Problems(reader.problems)
    return Document(data, reader.places)


class _Loader(yaml.SafeLoader):
    """Resolves scalars as YAML 1.2's core schema does (10.3.2)."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - the name and shape that PyYAML looks for


_RULES = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
)
for _kind, _pattern, _first in _RULES:
    starts = [char if char != "\0" else "" for char in _first]
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), starts)


class _Reader:
    """Turns nodes into data, and notes where each stands."""

    def __init__(self) -> None:
        self.places: dict[KeyPath, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self.nodes = 0

    def read(self, node: yaml.Node, path: KeyPath) -> Any:  # noqa: ANN401 - whatever the file holds
        self.nodes += 1
        self.places.setdefault(path, _place(node))
        if self.nodes > MOST_NODES:
            if self.nodes == MOST_NODES + 1:
                self._complain(node, path, f"the file has more than {MOST_NODES} values: aliases may repeat too much")
            return None
        if isinstance(node, yaml.MappingNode):
            return dict(self._entries(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, i)) for i, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _entries(self, node: yaml.MappingNode, path: KeyPath) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name is None or name in seen:
                wrong = "this key stands twice" if name is not None else "a key must be a plain word"
                self._complain(key, (*path, name) if name else path, wrong)
                continue
            seen.add(name)
            self.places[*path, name] = _place(key)
            yield name, self.read(value, (*path, name))

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:  # noqa: ANN401
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        text = str(node.value)
        match kind:
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return int(text, 0) if text.startswith(("0x", "0o")) else int(text)
            case "float":
                return float(text)
        self._complain(node, path, f"the tag {node.tag} is not known here")
        return None

    def _complain(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        line, column = _place(node)
        self.problems.append(Problem(line, column, path, message))


def _place(node: yaml.Node) -> tuple[int, int]:
    mark = node.start_mark
    return mark.line + 1, mark.column + 1
