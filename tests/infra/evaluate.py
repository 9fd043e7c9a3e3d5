"""Evaluate Bicep expressions about names and sizes, without resources or the state of Azure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from tree_sitter import Node

from tests.infra.bicep import File, children, properties, text

Values = Mapping[str, Any]


class NotKnownError(Exception):
    """The value depends on the state of Azure."""


def unique_string(*parts: str) -> str:
    """Return a replacement for uniqueString: 13 lower-case letters and digits, equal for equal arguments."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return base64.b32encode(digest).decode().lower()[:13]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "empty": lambda value: not value,
    "min": min,
    "max": max,
    "toLower": str.lower,
    "string": str,
    "take": lambda value, count: value[:count],
    "replace": str.replace,
    "split": str.split,
    "uniqueString": unique_string,
}

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: int(a / b),
    "%": lambda a, b: a % b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "&&": lambda a, b: a and b,
    "||": lambda a, b: a or b,
}


def variables(file: File, params: Values) -> dict[str, Any]:
    """Return all variables of a file with a computable value. `params` replace the defaults of its parameters."""
    found: dict[str, Any] = {"subscription()": {"id": "/subscriptions/0000"}}
    for name, param in file.of("param").items():
        if param.value is not None:
            found[name] = value(param.value, found)
    found |= params
    for name, variable in file.of("var").items():
        try:
            found[name] = value(variable.value, found) if variable.value else None
        except NotKnownError:
            continue
    return found


def value(node: Node, known: Values) -> Any:
    """Evaluate an expression with the given values of its names."""
    handler = _HANDLERS.get(node.type)
    if handler is None:
        raise NotKnownError(text(node))
    return handler(node, known)


def _field(node: Node, name: str) -> Node:
    found = node.child_by_field_name(name)
    if found is None:
        raise NotKnownError(f"{text(node)} has no {name}")
    return found


def _identifier(node: Node, known: Values) -> Any:
    if text(node) not in known:
        raise NotKnownError(text(node))
    return known[text(node)]


def _string(node: Node, known: Values) -> str:
    parts = [
        str(value(part.children[1], known)) if part.type == "interpolation" else text(part)
        for part in children(node, "interpolation", "string_content")
    ]
    return "".join(parts)


def _ternary(node: Node, known: Values) -> Any:
    chosen = "consequence" if value(_field(node, "condition"), known) else "alternative"
    return value(_field(node, chosen), known)


def _binary(node: Node, known: Values) -> Any:
    return OPERATORS[text(node.children[1])](value(_field(node, "left"), known), value(_field(node, "right"), known))


def _call(node: Node, known: Values) -> Any:
    if text(node) in known:
        return known[text(node)]
    function = FUNCTIONS.get(text(node.children[0]))
    if function is None:
        raise NotKnownError(text(node))
    arguments = [child for child in children(node, "arguments")[0].children if child.is_named]
    return function(*(value(argument, known) for argument in arguments))


def _member(node: Node, known: Values) -> Any:
    return value(_field(node, "object"), known)[text(node.children[-1])]


def _subscript(node: Node, known: Values) -> Any:
    return value(_field(node, "object"), known)[value(_field(node, "index"), known)]


_HANDLERS: dict[str, Callable[[Node, Values], Any]] = {
    "identifier": _identifier,
    "string": _string,
    "number": lambda node, _: int(text(node)),
    "boolean": lambda node, _: text(node) == "true",
    "null": lambda *_: None,
    "parenthesized_expression": lambda node, known: value(node.children[1], known),
    "unary_expression": lambda node, known: not value(node.children[-1], known),
    "ternary_expression": _ternary,
    "binary_expression": _binary,
    "call_expression": _call,
    "member_expression": _member,
    "subscript_expression": _subscript,
    "object": lambda node, known: {name: value(each, known) for name, each in properties(node).items()},
    "array": lambda node, known: [value(each, known) for each in node.children if each.is_named],
}
