"""Jupyter kernel of a session: ipykernel with a display hook that also publishes the last value as JSON."""

import importlib
import json
import os
import site
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import values
from .config import BootConfig


def preload() -> None:
    """Import the modules of the kernel. No thread, event loop or socket may start here: the kernel is forked later."""
    import ipykernel.ipkernel
    import ipykernel.kernelapp  # noqa: F401


def serve(config: BootConfig, number: int, on_ready: Callable[[], None]) -> None:
    """Run kernel `number` of the session until it exits. `on_ready` is called after its sockets are bound."""
    from ipykernel.kernelapp import IPKernelApp
    from traitlets.config import Config

    settings = Config()
    settings.HistoryManager.enabled = False
    settings.InteractiveShell.colors = "nocolor"
    settings.IPKernelApp.quiet = True
    settings.IPKernelApp.exec_PYTHONSTARTUP = False
    home = tempfile.mkdtemp(dir=config.scratch)
    if config.startup_files:
        _read_startup_files()
    else:
        os.environ["IPYTHONDIR"] = home  # a new folder: an earlier kernel could have left start-up files
    app: Any = IPKernelApp.instance(config=settings)
    app.initialize(["-f", str(_write_connection_file(config, Path(home), number))])
    values.install(app.shell)
    on_ready()
    app.start()


def _read_startup_files() -> None:
    """Do for the forked kernel as a new Python process does: read `.pth` files and `usercustomize` of the user.

    IPython reads its own start-up files from the home folder.
    """
    packages = site.getusersitepackages()
    if Path(packages).is_dir():
        site.addsitedir(packages)
    with suppress(ImportError):
        importlib.import_module("usercustomize")


def _write_connection_file(config: BootConfig, folder: Path, number: int) -> Path:
    """Write the connection file of the kernel; its sockets are `{channel}/{number}-1` to `-5`."""
    names = ("shell", "iopub", "stdin", "control", "hb")
    info: dict[str, Any] = {f"{name}_port": port for port, name in enumerate(names, start=1)}
    info |= {"transport": "ipc", "ip": f"{config.channel}/{number}", "key": config.key}
    info |= {"signature_scheme": "hmac-sha256", "kernel_name": socket.gethostname()}
    path = folder / "kernel.json"
    path.write_text(json.dumps(info))
    return path
