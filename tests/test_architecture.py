"""Rules on imports: layers point downwards, and no module or folder is part of a cycle."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Every room of `pipeline/` (a folder, or a module at its root) and the rooms that it may import from.
LEAVES = {"settings", "errors", "identity", "telemetry", "concurrency"}
STORES = {"recipes", "pool", "storage"}
JOB_PARTS = LEAVES | STORES | {"engine", "adhoc_recipes"}
CORE = JOB_PARTS | {"jobs", "runs", "services"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "identity": {"errors"},
    "telemetry": set(),
    "concurrency": set(),
    "http_connections": set(),
    "blob_binding": set(),
    "engine": set(),
    "settings": {"errors", "engine", "telemetry"},
    "recipes": LEAVES | {"engine"},
    "pool": LEAVES | {"http_connections", "engine"},
    "storage": LEAVES | {"http_connections", "engine"},
    "adhoc_recipes": LEAVES | {"recipes", "storage"},
    "jobs": JOB_PARTS,
    "runs": JOB_PARTS | {"jobs"},
    "monitoring": LEAVES | {"pool", "storage", "jobs"},
    "services": JOB_PARTS | {"jobs", "runs", "monitoring"},
    "api": CORE | {"monitoring"},
    "console": CORE | {"monitoring"},
    "cli": CORE | {"monitoring"},
    "testing": CORE,
    "__main__": {"cli"},
    "function_app": {"blob_binding", "services", "settings", "api", "console"},
}
DEPLOYED = [ROOT / "function_app.py", *sorted((ROOT / "pipeline").rglob("*.py"))]
PACKAGES = {path.name: path for path in sorted((ROOT / "packages").glob("*/*/")) if (path / "__init__.py").exists()}
TREES = {
    "pipeline": ROOT / "pipeline",
    "devstack": ROOT / "devstack",
    "benchmarks": ROOT / "benchmarks",
    **PACKAGES,
}


def module_name(path: Path, root: Path) -> str:
    """Return the dotted name of a module below `root`: `pipeline/storage/entry.py` is `pipeline.storage.entry`."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, root: Path = ROOT) -> Iterator[str]:
    """Yield the full names that a module imports, `TYPE_CHECKING` blocks and function bodies included."""
    package = path.relative_to(root).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = list(package[: len(package) - node.level + 1]) if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from (f"{base}.{name.name}" for name in node.names)


def import_graph(folder: Path) -> dict[str, set[str]]:
    """Return the modules of a folder, each with the modules of the same folder that it imports."""
    root = folder.parent
    paths = {module_name(path, root): path for path in folder.rglob("*.py")}
    graph: dict[str, set[str]] = {}
    for name, path in paths.items():
        found = {full if full in paths else full.rpartition(".")[0] for full in imports(path, root)}
        graph[name] = (found & set(paths)) - {name}
    return graph


def folder_of(module: str, folders: set[str]) -> str:
    """Return the folder of a module; a module at the root of a tree stands for itself."""
    parent = module.rpartition(".")[0]
    return module if module in folders else parent if parent in folders else module


def room_of(path: Path) -> str:
    """Return the room of a deployed module: `pipeline/storage/entry.py` belongs to `storage`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] == "function_app" else parts[1]


def test_a_module_imports_only_from_rooms_below_its_own() -> None:
    wrong = []
    for path in DEPLOYED:
        if path == ROOT / "pipeline" / "__init__.py":
            continue
        room = room_of(path)
        rooms = {name.split(".")[1] for name in imports(path) if name.startswith("pipeline.")} - {room, "__version__"}
        wrong += [f"{path.relative_to(ROOT)} imports from {each}" for each in sorted(rooms - MAY_IMPORT[room])]
    assert not wrong


def test_no_modules_import_each_other_in_a_cycle() -> None:
    cycles = []
    for folder in TREES.values():
        try:
            TopologicalSorter(import_graph(folder)).prepare()
        except CycleError as error:
            cycles.append(error.args[1])
    assert not cycles


def test_no_folders_import_each_other_in_a_cycle() -> None:
    cycles = []
    for name, folder in TREES.items():
        folders = {module_name(path, folder.parent) for path in folder.rglob("__init__.py")} - {name}
        graph: dict[str, set[str]] = {}
        for module, found in import_graph(folder).items():
            own = folder_of(module, folders)
            graph.setdefault(own, set()).update({folder_of(each, folders) for each in found} - {own})
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            cycles.append((name, error.args[1]))
    assert not cycles


def test_nothing_deployed_imports_devstack_tests_or_benchmarks() -> None:
    undeployed = {"devstack", "tests", "benchmarks", *PACKAGES}
    wrong = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in DEPLOYED
        for name in imports(path)
        if name.split(".")[0] in undeployed or (name.startswith("pipeline.testing") and room_of(path) != "testing")
    }
    assert not wrong


def test_a_package_imports_nothing_of_this_repository() -> None:
    own = {"pipeline", "devstack", "tests", "benchmarks", *PACKAGES}
    wrong = {
        f"{path.relative_to(ROOT)}: {imported}"
        for name, folder in PACKAGES.items()
        for path in folder.rglob("*.py")
        for imported in imports(path, folder.parent)
        if imported.split(".")[0] in own - {name}
    }
    assert not wrong


def test_the_engine_needs_the_standard_library_and_pillow_alone() -> None:
    allowed = sys.stdlib_module_names | {"PIL", "pillow_heif", "pipeline"}
    paths = sorted((ROOT / "pipeline" / "engine").rglob("*.py"))
    foreign = {f"{path.name}: {name}" for path in paths for name in imports(path) if name.split(".")[0] not in allowed}
    assert not foreign
    absolute = [
        f"{path.name}: {node.module}"
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipeline")
    ]
    assert not absolute


def test_only_two_modules_of_the_api_use_azure_classes() -> None:
    modules = {
        path.stem for path in (ROOT / "pipeline" / "api").glob("*.py") if "azure.functions" in set(imports(path))
    }
    assert modules == {"http", "routes"}


def test_few_modules_stand_at_the_root_of_the_pipeline() -> None:
    modules = {path.stem for path in (ROOT / "pipeline").glob("*.py")} - {"__init__", "__main__"}
    assert len(modules) <= 8, sorted(modules)


def test_the_function_app_never_loads_pillow() -> None:
    """Sessions decode images: the process with the credentials holds no decoder."""
    code = "import sys, function_app; print([m for m in sys.modules if m.split('.')[0] == 'PIL'])"
    environ = {
        "PATH": "/usr/bin",
        "PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1",
        "IMAGES": "UseDevelopmentStorage=true",
    }
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
