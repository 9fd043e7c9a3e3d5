"""Bicep files as syntax trees, and checks that need no compiler.

No package registry has Microsoft's compiler. So this module finds the most frequent errors: invalid syntax, undeclared
names, modules called with wrong parameters, and references to outputs that do not exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

_PARSER = Parser(Language(tree_sitter_bicep.language()))

# Names that need no declaration: namespaces and functions.
_FUNCTIONS = """
    az sys any array base64 bool concat contains deployer deployment empty endsWith environment filter first flatten
    format guid indexOf int intersection items join json last length list listKeys loadFileAsBase64 loadJsonContent
    loadTextContent managementGroup map max min newGuid padLeft range reduce reference replace resourceGroup resourceId
    skip sort split startsWith string subscription subscriptionResourceId substring take tenant tenantResourceId toLower
    toObject toUpper trim union uniqueString uri utcNow
"""
BUILT_IN = set(_FUNCTIONS.split())
DECORATORS = {
    "allowed",
    "description",
    "export",
    "maxLength",
    "maxValue",
    "metadata",
    "minLength",
    "minValue",
    "secure",
}


def text(node: Node) -> str:
    """Return the source text of a node."""
    return (node.text or b"").decode()


def line(node: Node) -> int:
    """Return the first line of a node, counted from 1."""
    return node.start_point[0] + 1


def children(node: Node, *kinds: str) -> list[Node]:
    """Return the direct children of the given kinds."""
    return [child for child in node.children if child.type in kinds]


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all its descendants."""
    yield node
    for child in node.children:
        yield from walk(child)


def literal(node: Node | None) -> str | None:
    """Return the value of a string without interpolation, else None."""
    if node is None or node.type != "string" or children(node, "interpolation"):
        return None
    return text(node).strip("'")


def properties(node: Node) -> dict[str, Node]:
    """Return the values of an object's properties by name."""
    pairs = children(node, "object_property")
    return {text(pair.children[0]).strip("'"): pair.children[-1] for pair in pairs}


@dataclass(frozen=True)
class Declaration:
    """The name and the node of a `param`, `var`, `output`, `resource` or `module`."""

    kind: str
    name: str
    node: Node

    @property
    def value(self) -> Node | None:
        """Return the value after the `=`, or None for a parameter without a default."""
        equals = [index for index, child in enumerate(self.node.children) if child.type == "="]
        return self.node.children[equals[0] + 1] if equals else None

    @property
    def body(self) -> Node | None:
        """Return the object of a resource or a module, inside any loops and conditions."""
        return next((node for node in walk(self.value) if node.type == "object"), None) if self.value else None

    @property
    def target(self) -> str:
        """Return the type of a resource, or the file of a module."""
        return literal(children(self.node, "string")[0]) or ""

    @property
    def existing(self) -> bool:
        """Return whether a resource is declared as `existing`."""
        return any(child.type == "existing" for child in self.node.children)

    @property
    def type(self) -> str:
        """Return the type of a parameter or an output."""
        return text(children(self.node, "type")[0])


_KINDS = {f"{kind}_declaration": kind for kind in ("output", "resource", "module")}
_KINDS |= {"parameter_declaration": "param", "variable_declaration": "var"}


@dataclass(frozen=True)
class File:
    """A Bicep file."""

    path: Path

    @cached_property
    def root(self) -> Node:
        """Return the root of the syntax tree."""
        return _PARSER.parse(self.path.read_bytes()).root_node

    @cached_property
    def declarations(self) -> list[Declaration]:
        """Return all declarations in order."""
        found = [node for node in walk(self.root) if node.type in _KINDS]
        return [Declaration(_KINDS[node.type], text(children(node, "identifier")[0]), node) for node in found]

    def of(self, kind: str) -> dict[str, Declaration]:
        """Return the declarations of one kind by name."""
        return {each.name: each for each in self.declarations if each.kind == kind}

    def decorators(self, name: str) -> dict[str, Node]:
        """Return the decorators of a parameter, each with its only argument."""
        node = self.of("param")[name].node.prev_sibling
        found: dict[str, Node] = {}
        while node is not None and node.type in ("decorators", "comment"):
            for decorator in (each for each in walk(node) if each.type == "decorator"):
                call = children(decorator, "call_expression")[0]
                found[text(call.children[0])] = children(call, "arguments")[0].children[1]
            node = node.prev_sibling
        return found


def problems(file: File) -> Iterator[str]:
    """Yield all problems of a file as `line N: …`."""
    yield from (f"line {line(node)}: syntax near {text(node)[:40]!r}" for node in walk(file.root) if _broken(node))
    yield from _undeclared(file)
    yield from _unused(file)
    yield from _modules(file)


def _broken(node: Node) -> bool:
    return node.type == "ERROR" or node.is_missing


def _names_used(file: File) -> Iterator[Node]:
    for node in walk(file.root):
        if node.type != "identifier" or node.parent is None:
            continue
        declared = node.parent.type in (*_KINDS, "lambda_expression") and node == children(node.parent, "identifier")[0]
        declared = declared or node == node.parent.child_by_field_name("initializer")
        key = node.parent.type == "object_property" and node == node.parent.children[0]
        if not declared and not key:
            yield node


def _undeclared(file: File) -> Iterator[str]:
    known = BUILT_IN | {each.name for each in file.declarations if each.kind != "output"}
    known |= {text(node) for node in walk(file.root) if node.type in ("loop_variable", "loop_enumerator")}
    known |= {text(loop) for node in walk(file.root) if (loop := node.child_by_field_name("initializer"))}
    known |= {text(node.children[0]) for node in walk(file.root) if node.type == "lambda_expression"}
    for node in _names_used(file):
        decorator = any(each.type == "decorator" for each in _above(node))
        if text(node) not in (known | DECORATORS if decorator else known):
            yield f"line {line(node)}: nothing is called {text(node)}"


def _above(node: Node) -> Iterator[Node]:
    while node.parent is not None:
        node = node.parent
        yield node


def _unused(file: File) -> Iterator[str]:
    used = {text(node) for node in _names_used(file)}
    for each in file.declarations:
        if each.kind in ("param", "var") and each.name not in used:
            yield f"line {line(each.node)}: {each.name} is used by nothing"


def _modules(file: File) -> Iterator[str]:
    for module in file.of("module").values():
        called = File(file.path.parent / module.target)
        if not called.path.exists():
            yield f"line {line(module.node)}: there is no {module.target}"
            continue
        given = properties(properties(module.body)["params"]) if module.body else {}
        params = called.of("param")
        required = {name for name, param in params.items() if param.value is None}
        for name in sorted(set(given) - set(params)):
            yield f"line {line(given[name])}: {module.target} has no parameter {name}"
        for name, node in given.items():
            kind = _kind(file, node)
            if name in params and kind not in ("", params[name].type):
                yield f"line {line(node)}: {name} of {module.target} is a {params[name].type}, not a {kind}"
        for name in sorted(required - set(given)):
            yield f"line {line(module.node)}: {module.target} needs {name}"
        for node in walk(file.root):
            if node.type == "member_expression" and text(node).startswith(
                (f"{module.name}.outputs.", f"{module.name}!.outputs.")
            ):
                output = text(node).split(".")[2]
                if output not in called.of("output"):
                    yield f"line {line(node)}: {module.target} has no output {output}"


_LITERALS = {"string": "string", "number": "int", "boolean": "bool", "array": "array", "object": "object"}


def _kind(file: File, node: Node) -> str:
    """Return the type of a literal, a parameter or an output of a module, and None for other values."""
    if node.type == "identifier":
        param = file.of("param").get(text(node))
        return param.type if param else ""
    module, _, output = text(node).replace("!", "").partition(".outputs.")
    if node.type == "member_expression" and module in file.of("module"):
        outputs = File(file.path.parent / file.of("module")[module].target).of("output")
        return outputs[output].type if output in outputs else ""
    return _LITERALS.get(node.type, "")
