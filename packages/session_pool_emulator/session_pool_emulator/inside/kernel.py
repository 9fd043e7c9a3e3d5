"""The Jupyter kernel of a session: ipykernel, with a display hook that also says the last value as JSON."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import values
from .config import BootConfig


def preload() -> None:
    """Import what every kernel needs. No thread, loop or socket may start here: the kernel is forked afterwards."""
    import ipykernel.ipkernel
    import ipykernel.kernelapp  # noqa: F401


def serve(config: BootConfig, count: int, ready: Callable[[], None]) -> None:
    """Be the kernel number `count` of this session; `ready` is called once its sockets are bound."""
    from ipykernel.kernelapp import IPKernelApp
    from traitlets.config import Config

    settings = Config()
    settings.HistoryManager.enabled = False
    settings.InteractiveShell.colors = "nocolor"
    settings.IPKernelApp.quiet = True
    settings.IPKernelApp.exec_PYTHONSTARTUP = False
    home = tempfile.mkdtemp(dir=config.scratch)  # a fresh one: an older kernel could have left start-up files there
    os.environ["IPYTHONDIR"] = home
    app: Any = IPKernelApp.instance(config=settings)
    app.initialize(["-f", str(_connection_file(config, Path(home), count))])
    values.install(app.shell)
    ready()
    app.start()


def _connection_file(config: BootConfig, folder: Path, count: int) -> Path:
    names = ("shell", "iopub", "stdin", "control", "hb")
    info: dict[str, Any] = {f"{name}_port": number for number, name in enumerate(names, start=1)}
    info |= {"transport": "ipc", "ip": f"{config.channel}/{count}", "key": config.key}
    info |= {"signature_scheme": "hmac-sha256", "kernel_name": socket.gethostname()}
    path = folder / "kernel.json"
    path.write_text(json.dumps(info))
    return path
