"""Every deployed package is pinned by its hashes and listed in the SBOM."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEPLOYED = ["requirements.txt", "session_image/requirements.txt"]
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)


def pins(file: str) -> set[tuple[str, str]]:
    """Return name and version of every package that a file pins."""
    return set(PIN.findall((ROOT / file).read_text()))


@pytest.mark.parametrize("file", DEPLOYED)
def test_every_deployed_package_has_a_hash(file: str) -> None:
    """Check all packages: with one hash, pip requires hashes for all packages, on Azure too."""
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", (ROOT / file).read_text())
    packages = [block for block in blocks if PIN.match(block)]
    assert len(packages) == len(pins(file))
    assert not [block.split()[0] for block in packages if not re.search(r"--hash=sha256:[0-9a-f]{64}", block)]
    assert not [
        line for line in (ROOT / file).read_text().splitlines() if re.match(r"\s*(-e|git\+|https?:|--\w*index)", line)
    ]


def test_tested_and_deployed_packages_are_the_same() -> None:
    assert pins("requirements.txt") <= pins("requirements-dev.txt")
    assert {name for name, _ in pins("requirements.in")} <= {name for name, _ in pins("requirements.txt")}


@pytest.fixture(scope="module")
def sbom() -> dict[str, Any]:
    result = subprocess.run([sys.executable, ROOT / "scripts" / "sbom"], capture_output=True, check=True)
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_the_sbom_lists_exactly_the_deployed_packages(sbom: dict[str, Any]) -> None:
    listed = {(each["name"], each["version"]) for each in sbom["components"] if each["type"] == "library"}
    assert listed == {(name.lower(), version) for file in DEPLOYED for name, version in pins(file)}


def test_the_sbom_is_cyclonedx(sbom: dict[str, Any]) -> None:
    """Check the main rules of the schema. CycloneDX's own library has checked the whole schema."""
    assert (sbom["bomFormat"], sbom["specVersion"], sbom["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", sbom["serialNumber"])
    refs = [each["bom-ref"] for each in sbom["components"]] + [sbom["metadata"]["component"]["bom-ref"]]
    assert len(refs) == len(set(refs))
    for each in sbom["components"]:
        assert each["type"] in ("library", "application")
        if each["type"] == "library":
            assert each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}"
            hashes = each["externalReferences"][0]["hashes"]
            assert hashes
            assert all(one["alg"] == "SHA-256" and re.fullmatch("[0-9a-f]{64}", one["content"]) for one in hashes)


def test_the_sbom_holds_all_dependencies(sbom: dict[str, Any]) -> None:
    needs = {edge["ref"]: set(edge["dependsOn"]) for edge in sbom["dependencies"]}
    refs = {each["bom-ref"] for each in sbom["components"]} | {"image-pipeline"}
    assert set(needs) == refs
    reached, todo = set[str](), ["image-pipeline"]
    while todo:
        ref = todo.pop()
        todo += needs[ref] - reached
        reached |= needs[ref]
    assert reached == refs - {"image-pipeline"}, "every package is a dependency of another one"


def test_the_sbom_is_reproducible(sbom: dict[str, Any]) -> None:
    again = subprocess.run([sys.executable, ROOT / "scripts" / "sbom"], capture_output=True, check=True)
    assert json.loads(again.stdout) == sbom
