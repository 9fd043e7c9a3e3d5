"""The arrows between the rooms go one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Every room, and the rooms it may import from (besides itself).
BASE = {"settings", "errors", "identity", "telemetry", "together"}
STORES = {"recipes", "sessions", "storage"}
CORE = {"process", "stages", "rendering", "runs", "deliveries", "poison", "jobs", "services", "verify"}
MAY_IMPORT = {
    "errors": set(),
    "identity": {"errors"},
    "telemetry": set(),
    "together": set(),
    "settings": {"errors", "transforms"},
    "transforms": set(),
    "connections": set(),
    "recipes": BASE | {"transforms"},
    "sessions": BASE | {"connections", "transforms"},
    "storage": BASE | {"connections"},
    "stages": BASE,
    "verify": BASE | {"sessions"},
    "adhoc": BASE | {"recipes", "storage"},
    "services": BASE | STORES | {"adhoc"},
    "rendering": BASE | STORES | {"services", "stages", "verify", "transforms"},
    "process": BASE | STORES | {"services", "stages", "rendering"},
    "deliveries": BASE | STORES | {"services", "process", "rendering"},
    "jobs": BASE | STORES | {"services"},
    "runs": BASE | STORES | {"services", "process", "rendering", "deliveries"},
    "poison": BASE | STORES | {"services", "deliveries", "runs"},
    "web": BASE | STORES | CORE | {"adhoc", "jobs", "stages", "transforms"},
    "cli": BASE | STORES | CORE | {"web", "transforms"},
    "__main__": {"cli"},
    "function_app": {"deliveries", "poison", "runs", "services", "settings", "web"},
}
DEPLOYED = [ROOT / "function_app.py", *sorted((ROOT / "pipeline").rglob("*.py"))]


def room_of(path: Path) -> str:
    """`pipeline/storage/keys.py` → storage."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] == "function_app" else parts[1]


def imports(path: Path) -> Iterator[str]:
    """The full names that a module imports; relative ones resolved."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = list(package[: len(package) - node.level + 1]) if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from (f"{base}.{name.name}" for name in node.names)


@pytest.mark.parametrize("path", DEPLOYED, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_rooms_below_its_own(path: Path) -> None:
    room = room_of(path)
    if path == ROOT / "pipeline" / "__init__.py":
        return
    rooms = {name.split(".")[1] for name in imports(path) if name.startswith("pipeline.")}
    rooms -= {room}
    assert rooms <= MAY_IMPORT[room], f"{path.name} in {room} imports from {sorted(rooms - MAY_IMPORT[room])}"


@pytest.mark.parametrize("path", DEPLOYED, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_deployed_imports_the_embedded_stack_or_tests(path: Path) -> None:
    assert not {name for name in imports(path) if name.split(".")[0] in {"devstack", "tests", "benchmarks"}}


@pytest.mark.parametrize("path", sorted((ROOT / "pipeline" / "transforms").rglob("*.py")), ids=lambda path: path.name)
def test_a_transform_needs_the_standard_library_and_pillow_alone(path: Path) -> None:
    foreign = {
        name
        for name in imports(path)
        if name.split(".")[0] not in sys.stdlib_module_names | {"PIL", "pillow_heif", "pipeline"}
    }
    assert not foreign
    absolute = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    assert not [node.module for node in absolute if node.module and node.module.startswith("pipeline")]


def test_the_function_app_never_loads_pillow() -> None:
    """Images are decoded in sessions, so the process with the credentials has no decoder in it."""
    code = "import sys, function_app; print([m for m in sys.modules if m.split('.')[0] == 'PIL'])"
    environ = {
        "PATH": "/usr/bin",
        "PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1",
        "IMAGES": "UseDevelopmentStorage=true",
    }
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[]"
