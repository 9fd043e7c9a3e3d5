"""Bytecode for what a session imports: a session cannot write its own, and compiling it all takes seconds each time."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from pathlib import Path

_ALWAYS = "ipykernel.kernelapp"


async def write_missing(preload: tuple[str, ...]) -> None:
    """Import once, outside, what sessions import, if nobody ever has. Some installers leave packages uncompiled."""
    if not _is_missing():
        return
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    code = f"import {', '.join((_ALWAYS, *preload))}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    await process.wait()


def _is_missing() -> bool:
    spec = importlib.util.find_spec(_ALWAYS.partition(".")[0])
    return spec is not None and spec.cached is not None and not Path(spec.cached).exists()
