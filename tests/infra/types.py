"""Compare Bicep resources with Microsoft's descriptions of the resource types (Azure/bicep-types-az).

The checks need a local copy of the descriptions. They find unknown, missing and read-only properties, and literals of
the wrong kind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tree_sitter import Node

from tests.infra.bicep import Declaration, File, children, line, literal, properties

Spec = dict[str, Any]
REQUIRED, READ_ONLY = 1, 2
# Properties that every resource has.
OF_THE_LANGUAGE = {"parent", "scope", "dependsOn"}
SCALARS = {"string": "StringType", "number": "IntegerType", "boolean": "BooleanType"}
CONTAINERS = {"object": "ObjectType", "array": "ArrayType"}


@dataclass(frozen=True)
class Types:
    """The descriptions in a folder, one file for each provider and version."""

    folder: Path

    @property
    def providers(self) -> set[str]:
        """Return the described providers in lower case."""
        return {path.name for path in self.folder.iterdir()}

    def problems(self, file: File) -> Iterator[str]:
        """Yield the problems of a file's resources. Skip providers without a description."""
        for resource in file.of("resource").values():
            provider, _, version = resource.target.partition("@")
            if (
                provider.split("/")[0].lower() in self.providers
                and (self.folder / provider.split("/")[0].lower() / version).exists()
            ):
                yield from self._resource(resource)

    def described(self, resource: Declaration) -> bool:
        """Return whether the resource's type has a description."""
        provider, _, version = resource.target.partition("@")
        return (self.folder / provider.split("/")[0].lower() / version).exists()

    def _resource(self, resource: Declaration) -> Iterator[str]:
        provider, _, version = resource.target.partition("@")
        specs = _load(self.folder / provider.split("/")[0].lower() / version / "types.json")
        wanted = (
            each
            for each in specs
            if each["$type"] == "ResourceType" and each["name"].lower() == resource.target.lower()
        )
        found = next(wanted, None)
        if found is None:
            yield f"line {line(resource.node)}: there is no resource type {resource.target}"
        elif resource.body is not None and not resource.existing:
            yield from _Check(specs).value(_target(specs, found["body"]), resource.body, "")


@cache
def _load(path: Path) -> list[Spec]:
    loaded: list[Spec] = json.loads(path.read_text())
    return loaded


def _target(specs: list[Spec], reference: Spec) -> Spec:
    return specs[int(re.sub(r".*/", "", reference["$ref"]))]


@dataclass(frozen=True)
class _Check:
    specs: list[Spec]

    def value(self, spec: Spec, node: Node, path: str) -> Iterator[str]:
        """Yield the problems of a value. Expressions count as correct."""
        kind = spec["$type"]
        if kind == "DiscriminatedObjectType" and node.type == "object":
            yield from self._discriminated(spec, node, path)
        elif kind == "ObjectType" and node.type == "object":
            yield from self._object(spec, node, path)
        elif kind == "ArrayType" and node.type == "array":
            for item in (child for child in node.children if child.is_named and child.type != "comment"):
                yield from self.value(_target(self.specs, spec["itemType"]), item, f"{path}[]")
        elif kind == "UnionType":
            yield from self._union(spec, node, path)
        else:
            yield from self._wrong_kind(kind, node, path)

    def _discriminated(self, spec: Spec, node: Node, path: str) -> Iterator[str]:
        word = literal(properties(node).get(spec["discriminator"]))
        if word is None:
            return
        if word not in spec["elements"]:
            yield f"line {line(node)}: {path}.{spec['discriminator']} cannot be {word}"
            return
        chosen = _target(self.specs, spec["elements"][word])
        merged = {**spec.get("baseProperties", {}), **chosen.get("properties", {})}
        yield from self._object({"properties": merged}, node, path)

    def _object(self, spec: Spec, node: Node, path: str) -> Iterator[str]:
        known, others, given = spec.get("properties", {}), spec.get("additionalProperties"), properties(node)
        for name, value in given.items():
            if name in known:
                if known[name]["flags"] & READ_ONLY and not known[name]["flags"] & REQUIRED:
                    yield f"line {line(value)}: {path}.{name} can only be read"
                yield from self.value(_target(self.specs, known[name]["type"]), value, f"{path}.{name}")
            elif others:
                yield from self.value(_target(self.specs, others), value, f"{path}.{name}")
            elif path or name not in OF_THE_LANGUAGE:
                yield f"line {line(value)}: there is no {path}.{name}"
        for name, one in known.items():
            needed = one["flags"] & REQUIRED and not one["flags"] & READ_ONLY
            if needed and name not in given:
                yield f"line {line(node)}: {path}.{name} is missing"

    def _union(self, spec: Spec, node: Node, path: str) -> Iterator[str]:
        elements = [_target(self.specs, each) for each in spec["elements"]]
        words = [each["value"] for each in elements if each["$type"] == "StringLiteralType"]
        word = literal(node)
        closed = len(words) == len(elements)
        if word is not None and closed and word not in words:
            yield f"line {line(node)}: {path} cannot be {word}: one of {', '.join(words)}"

    def _wrong_kind(self, kind: str, node: Node, path: str) -> Iterator[str]:
        given = SCALARS.get(node.type) or CONTAINERS.get(node.type)
        comparable = {*SCALARS.values(), *CONTAINERS.values()}
        if given and kind in comparable and kind != given and not children(node, "interpolation"):
            yield f"line {line(node)}: {path} is a {given}, and should be a {kind}"
