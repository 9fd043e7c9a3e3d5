"""YAML with places: plain data, and for each key path the line and the column where it stands.

The values are those of YAML 1.2's core schema: `16:9` is text (YAML 1.1 reads the number 969), and so are `no`, `on`
and dates. Each key may stand once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

KeyPath = tuple[str | int, ...]
MOST_NODES = 20_000
"""Aliases can make a short file endless; no recipe file is this long."""
DEEPEST = 50
"""Lists and mappings within each other; an alias of what it stands in would go on for ever."""
ADVICE = "check the indentation, colons and quotes around here"
LONGEST_NUMBER = 40
"""Digits and all. Python itself refuses to read, or to write, numbers of thousands of digits."""


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
        node = _composed(text)
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(
            f"{error.problem or error.context}: {ADVICE}", error.problem_mark or error.context_mark
        ) from None
    except yaml.YAMLError as error:
        raise _not_yaml(str(error)) from None
    except RecursionError:
        raise _not_yaml(f"it is nested more than {DEEPEST} deep: {ADVICE}") from None
    reader = _Reader()
    data = reader.read(node, ()) if node is not None else None
    if reader.problems:
        raise Problems(reader.problems)
    return Document(data, reader.places)


def dump(data: Any) -> str:  # noqa: ANN401 - plain data
    """Plain data as YAML that `parse` reads as the same: what would be another value without quotes gets some."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None)


def _composed(text: str) -> yaml.Node | None:
    """The one document's root. MarkedYAMLError also where an escape stands for a character that there is not."""
    loader = _Loader(text)
    try:
        node: yaml.Node | None = loader.get_single_node()
    except ValueError as error:
        mark = loader.get_mark()
        raise yaml.MarkedYAMLError(problem="an escape stands for no character", problem_mark=mark) from error
    finally:
        loader.dispose()
    return node


def _not_yaml(message: str, mark: yaml.Mark | None = None) -> Problems:
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return Problems([Problem(line, column, (), f"not YAML: {message}")])


class _Loader(yaml.SafeLoader):
    """Resolves scalars as YAML 1.2's core schema does (10.3.2)."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - the name and shape that PyYAML looks for


_RULES = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
)
_TAG = "tag:yaml.org,2002:"
_SCALARS = {kind: re.compile(f"^(?:{pattern})$") for kind, pattern, _ in _RULES}
for _kind, _, _first in _RULES:
    starts = [char if char != "\0" else "" for char in _first]
    _Loader.add_implicit_resolver(_TAG + _kind, _SCALARS[_kind], starts)


class _Dumper(yaml.SafeDumper):
    """Writes without quotes only what the loader resolves to the same."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


class _Reader:
    """Turns nodes into data, and notes where each stands."""

    def __init__(self) -> None:
        self.places: dict[KeyPath, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self.nodes = 0
        self.too_deep = False

    def read(self, node: yaml.Node, path: KeyPath) -> Any:  # noqa: ANN401 - whatever the file holds
        self.nodes += 1
        self.places.setdefault(path, _place(node))
        if self.nodes > MOST_NODES:
            if self.nodes == MOST_NODES + 1:
                self._complain(node, path, f"the file has more than {MOST_NODES} values: aliases may repeat too much")
            return None
        if len(path) > DEEPEST:
            if not self.too_deep:
                self._complain(node, (), f"this is nested more than {DEEPEST} deep: an alias may stand in itself")
            self.too_deep = True
            return None
        if isinstance(node, yaml.MappingNode):
            return dict(self._entries(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, i)) for i, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _entries(self, node: yaml.MappingNode, path: KeyPath) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        for key, value in node.value:
            name = self._text(key, path) if isinstance(key, yaml.ScalarNode) else None
            if name is None or name in seen:
                wrong = "this key stands twice" if name is not None else "a key must be a plain word"
                self._complain(key, (*path, name) if name else path, wrong)
                continue
            seen.add(name)
            self.places[*path, name] = _place(key)
            yield name, self.read(value, (*path, name))

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:  # noqa: ANN401
        text = self._text(node, path)
        wrong = _wrong(node.tag, text)
        if wrong:
            self._complain(node, path, wrong)
            return None
        match node.tag.removeprefix(_TAG):
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return int(text, 0) if text.startswith(("0x", "0o")) else int(text)
            case "float":
                return float(text)
        return text

    def _text(self, node: yaml.Node, path: KeyPath) -> str:
        """What a scalar holds. YAML can spell half of a character of UTF-16, which no name and no file can hold."""
        text = str(node.value)
        whole = text.encode("utf-8", "replace").decode()
        if whole != text:
            self._complain(node, path, "an escape stands for half a character: write the character itself")
        return whole

    def _complain(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        line, column = _place(node)
        self.problems.append(Problem(line, column, path, message))


def _wrong(tag: str, text: str) -> str:
    """What is wrong with a scalar: tags can be written out, and say what the text is not."""
    kind = tag.removeprefix(_TAG)
    if kind == "str":
        return ""
    if kind not in _SCALARS:
        return f"the tag {tag} is not known here"
    if not _SCALARS[kind].fullmatch(text):
        return f"{text[:40]!r} is no {kind}"
    if kind in ("int", "float") and len(text) > LONGEST_NUMBER:
        return f"a number has at most {LONGEST_NUMBER} digits, not {len(text):,}"
    return f"the number {text} is too large" if kind == "float" and not math.isfinite(float(text)) else ""


def _place(node: yaml.Node) -> tuple[int, int]:
    mark = node.start_mark
    return mark.line + 1, mark.column + 1
