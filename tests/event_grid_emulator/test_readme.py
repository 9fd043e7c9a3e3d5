"""The example in the README of the Event Grid emulator works as written."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import uuid
from pathlib import Path

from devstack import subprocesses

README = Path(__file__).parents[2] / "packages" / "event_grid_emulator" / "README.md"
BIN = Path(sys.executable).parent


async def test_the_example_works(azurite: str, tmp_path: Path) -> None:
    container, emulator = f"input-{uuid.uuid4().hex}", azurite.split("BlobEndpoint=")[1].split(";")[0]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        webhook_port = str(listener.getsockname()[1])
    text = README.read_text().replace("7000", webhook_port).replace("10010", "0")
    text = text.replace("--container input", f"--container {container}").replace('"input"', f'"{container}"')
    (webhook,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    start, upload = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    (tmp_path / "webhook.py").write_text(webhook)
    program, *arguments = shlex.split(start)
    async with subprocesses.running("webhook", [sys.executable, "webhook.py"], cwd=tmp_path) as hook:
        argv = [BIN / program, *arguments, "--emulator", emulator]
        async with subprocesses.running("event grid", argv) as grid:
            url = (await grid.wait_for_line(r"event grid ready: (\S+)", 60))[1]
            script = upload.replace("http://127.0.0.1:0/devstoreaccount1", url)
            path = f"{BIN}:{os.environ['PATH']}"
            process = subprocess.Popen(["bash", "-euc", script], env={**os.environ, "PATH": path})  # noqa: ASYNC220
            await hook.wait_for_line(f"BlobCreated /blobServices/default/containers/{container}/blobs/a.jpg", 60)
            assert process.wait() == 0
