"""Bytecode of the packages that a session imports.

A session cannot write bytecode files, and compiling all packages for each session takes seconds.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from pathlib import Path

_KERNEL_MODULE = "ipykernel.kernelapp"


async def compile_packages(preload: tuple[str, ...]) -> None:
    """Import the packages of a session once, outside a sandbox, if the installer has not compiled them."""
    if not _bytecode_is_missing():
        return
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    code = f"import {', '.join((_KERNEL_MODULE, *preload))}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    await process.wait()


def _bytecode_is_missing() -> bool:
    spec = importlib.util.find_spec(_KERNEL_MODULE.partition(".")[0])
    return spec is not None and spec.cached is not None and not Path(spec.cached).exists()
