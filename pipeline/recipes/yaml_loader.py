"""YAML loader with positions: plain data, and the line and column of each key and item.

Values follow the core schema of YAML 1.2: `16:9` is text (YAML 1.1 reads the number 969), and so are `no`, `on` and
dates. Duplicate keys are errors. Depth, number of values and length of numbers are bounded, because requests bring
recipes, too.

PyYAML parses the text. ruamel.yaml was measured and not taken: it reads dates, `1_000` and `0b1` as other types,
reports one duplicate key at a time, needs the same bounds, and takes 2.3 times as long for a file of 400 recipes.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

KeyPath = tuple[str | int, ...]
MAX_VALUES = 20_000
"""No recipe file has this many values, but a short file with aliases can."""
MAX_DEPTH = 50
"""Nested lists and mappings. An alias inside its own anchor has no end."""
MAX_NUMBER_CHARACTERS = 40
"""Python refuses to read or write numbers of thousands of digits."""
HINT = "check the indentation, colons and quotes here"


@dataclass(frozen=True)
class Problem:
    """One error in a document: its position and the remedy."""

    line: int
    column: int
    path: KeyPath
    message: str

    def text(self, file: str) -> str:
        """Return the problem on one line, in the form that editors and terminals link."""
        path = dotted(self.path)
        return f"{file}:{self.line}:{self.column}: {path + ': ' if path else ''}{self.message}"


class Problems(Exception):  # noqa: N818 - a list of errors
    """All errors in a document."""

    def __init__(self, problems: list[Problem]) -> None:
        """Raise `problems` together."""
        super().__init__(f"{len(problems)} problems")
        self.problems = problems


@dataclass
class Document:
    """Plain data, and the line and column of each key path."""

    data: Any
    positions: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Return a problem at `path`, with the position of the nearest parent that is in the file."""
        parents = (path[:length] for length in range(len(path), -1, -1))
        line, column = next((self.positions[each] for each in parents if each in self.positions), (1, 1))
        return Problem(line, column, path, message)


def dotted(path: KeyPath) -> str:
    """Return a key path as text: `recipes.web.transforms[0].crop`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


def parse(text: str) -> Document:
    """Parse a YAML document.

    Raises:
        Problems: The text is not YAML, has duplicate keys or invalid scalars, or exceeds a bound.
    """
    try:
        node = _compose(text)
    except yaml.MarkedYAMLError as error:
        problem, mark = error.problem or error.context, error.problem_mark or error.context_mark
        raise _syntax_error(f"{problem}: {HINT}", mark) from None
    except yaml.YAMLError as error:
        raise _syntax_error(str(error)) from None
    except RecursionError:
        raise _syntax_error(f"nested more than {MAX_DEPTH} levels deep: {HINT}") from None
    reader = _Reader()
    data = reader.read(node, ()) if node is not None else None
    if reader.problems:
        raise Problems(reader.problems)
    return Document(data, reader.positions)


def dump(data: Any) -> str:  # noqa: ANN401 - any plain data
    """Write plain data as YAML that `parse` reads back unchanged: ambiguous texts are quoted."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None)


def _compose(text: str) -> yaml.Node | None:
    """Return the root node. PyYAML raises ValueError for an escape beyond Unicode; this becomes MarkedYAMLError."""
    loader = _Loader(text)
    try:
        node: yaml.Node | None = loader.get_single_node()
    except ValueError as error:
        raise yaml.MarkedYAMLError(problem="the escape is not a character", problem_mark=loader.get_mark()) from error
    finally:
        loader.dispose()
    return node


def _syntax_error(message: str, mark: yaml.Mark | None = None) -> Problems:
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return Problems([Problem(line, column, (), f"not YAML: {message}")])


class _Loader(yaml.SafeLoader):
    """Resolve scalars by the core schema of YAML 1.2 (section 10.3.2)."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - name and type as PyYAML expects


_TAG = "tag:yaml.org,2002:"
# Pattern, first characters and conversion of each kind of scalar.
_SCALARS: Final[dict[str, tuple[str, list[str], Callable[[str], object]]]] = {
    "null": (r"~|null|Null|NULL|", [*"~nN", ""], lambda _: None),
    "bool": (r"true|True|TRUE|false|False|FALSE", [*"tTfF"], lambda text: text.lower() == "true"),
    "int": (
        r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
        [*"-+0123456789"],
        lambda text: int(text, 0 if text[:2] in ("0o", "0x") else 10),
    ),
    "float": (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", [*"-+.0123456789"], float),
}
for _kind, (_pattern, _first, _) in _SCALARS.items():
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(f"^(?:{_pattern})$"), _first)


class _Dumper(yaml.SafeDumper):
    """Leave out the quotes only where the loader resolves the text unchanged."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


class _Reader:
    """Convert nodes to data, and collect their positions and problems."""

    def __init__(self) -> None:
        self.positions: dict[KeyPath, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self.values = 0

    def read(self, node: yaml.Node, path: KeyPath) -> Any:  # noqa: ANN401 - any plain data
        """Convert a node. A document beyond the bounds is abandoned at once."""
        self.values += 1
        self.positions.setdefault(path, _position(node))
        if self.values > MAX_VALUES:
            raise Problems([_problem(node, path, f"more than {MAX_VALUES:,} values: aliases may repeat too much")])
        if len(path) > MAX_DEPTH:
            message = f"nested more than {MAX_DEPTH} levels deep: an alias may contain itself"
            raise Problems([_problem(node, (), message)])
        if isinstance(node, yaml.MappingNode):
            return dict(self._items(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _items(self, node: yaml.MappingNode, path: KeyPath) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        for key, value in node.value:
            name = self._text(key, path) if isinstance(key, yaml.ScalarNode) else None
            if name is None:
                self.problems.append(_problem(key, path, "a key must be text"))
            elif name in seen:
                self.problems.append(_problem(key, (*path, name), "duplicate key"))
            else:
                seen.add(name)
                self.positions[*path, name] = _position(key)
                yield name, self.read(value, (*path, name))

    def _scalar(self, node: yaml.Node, path: KeyPath) -> object:
        text, kind = self._text(node, path), node.tag.removeprefix(_TAG)
        if message := _scalar_error(kind, text):
            self.problems.append(_problem(node, path, message))
            return None
        return _SCALARS[kind][2](text) if kind in _SCALARS else text

    def _text(self, node: yaml.Node, path: KeyPath) -> str:
        """Return the text of a scalar. An escape can be half of a surrogate pair, which no UTF-8 text can hold."""
        text = str(node.value)
        valid = text.encode("utf-8", "replace").decode()
        if valid != text:
            message = "the escape is half of a surrogate pair: write the character itself"
            self.problems.append(_problem(node, path, message))
        return valid


def _scalar_error(kind: str, text: str) -> str:
    """Return the error in a scalar, or an empty text. An explicit tag may contradict the text."""
    if kind == "str":
        return ""
    if kind not in _SCALARS:
        return f"unknown tag {kind}"
    if not re.fullmatch(_SCALARS[kind][0], text):
        return f"{text[:40]!r} is not a valid {kind}"
    if kind in ("int", "float") and len(text) > MAX_NUMBER_CHARACTERS:
        return f"a number has at most {MAX_NUMBER_CHARACTERS} digits, not {len(text):,}"
    return f"the number {text} is too large" if kind == "float" and not math.isfinite(float(text)) else ""


def _problem(node: yaml.Node, path: KeyPath, message: str) -> Problem:
    return Problem(*_position(node), path, message)


def _position(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
