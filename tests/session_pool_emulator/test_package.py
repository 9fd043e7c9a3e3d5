"""Package: its README example works, and it imports nothing except its declared dependencies."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.session_pool_emulator.emulator import REPOSITORY

PACKAGE = REPOSITORY / "packages" / "session_pool_emulator"


def test_the_example_in_the_readme_works(session_pool: str, tmp_path: Path) -> None:
    readme = (PACKAGE / "README.md").read_text()
    (example,) = re.findall(r"^```sh\n(endpoint=.*?)^```$", readme, flags=re.DOTALL | re.MULTILINE)
    script = "set -eu\n" + example.replace("http://127.0.0.1:7075", session_pool)
    result = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert '"stdout":"HELLO\\n"' in result.stdout
    assert result.stdout.endswith("HELLO")


def test_only_declared_dependencies_are_imported() -> None:
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    declared = {re.split("[<>=]", requirement)[0] for requirement in project["dependencies"]}
    distributions = {
        module: {name.lower().replace("_", "-") for name in names} for module, names in packages_distributions().items()
    }
    imported = set[str]()
    for path in (PACKAGE / "session_pool_emulator").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                imported.add(node.module.partition(".")[0])
    external = imported - sys.stdlib_module_names - {"session_pool_emulator"}
    assert {module for module in external if not declared & distributions.get(module, set())} == set()
