"""The engine's own source files, as the host uploads them to sessions, and a digest of their content."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def package_files() -> dict[str, bytes]:
    """Read all modules of this package by their paths within it. The result is the same on every operating system."""
    root = Path(__file__).parent
    files = sorted(root.rglob("*.py"), key=lambda file: file.relative_to(root).as_posix())
    return {file.relative_to(root).as_posix(): file.read_bytes().replace(b"\r\n", b"\n") for file in files}


@lru_cache(maxsize=1)
def package_digest() -> str:
    """Hash all modules: 64 hexadecimal digits that name the uploaded archive."""
    digest = hashlib.sha256()
    for name, body in package_files().items():
        digest.update(f"{name} {len(body)}\n".encode())
        digest.update(body)
    return digest.hexdigest()
