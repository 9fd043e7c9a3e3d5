"""The engine's own source: what is shipped to sessions, and the fingerprint that changes when its results may."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def package_files() -> dict[str, bytes]:
    """Every module of this package by its path within it, the same on every system."""
    root = Path(__file__).parent
    files = sorted(root.rglob("*.py"), key=lambda file: file.relative_to(root).as_posix())
    return {file.relative_to(root).as_posix(): file.read_bytes().replace(b"\r\n", b"\n") for file in files}


@lru_cache(maxsize=1)
def package_digest() -> str:
    """64 hexadecimal digits over all of it."""
    digest = hashlib.sha256()
    for name, body in package_files().items():
        digest.update(f"{name} {len(body)}\n".encode())
        digest.update(body)
    return digest.hexdigest()
