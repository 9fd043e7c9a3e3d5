"""The example in the README of the function host works as written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

from devstack import subprocesses
from tests.waiting import eventually

README = Path(__file__).parents[2] / "packages" / "functions_host" / "README.md"
BIN = Path(sys.executable).parent


async def test_the_example_works(azurite: str, tmp_path: Path) -> None:
    text = README.read_text().replace('"jobs"', f'"jobs-{uuid.uuid4().hex}"')
    (app,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    start, requests = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    assert start == "AzureWebJobsStorage=UseDevelopmentStorage=true functions-host --app app --port 7071\n"
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "function_app.py").write_text(app)
    log: list[str] = []
    argv, env = [BIN / "functions-host", "--app", "app"], {"AzureWebJobsStorage": azurite}
    async with subprocesses.running("host", argv, env=env, cwd=tmp_path, output=log.append) as host:
        url = (await host.wait_for_line(r"function host ready: (\S+)", 60))[1]
        script = requests.replace("http://127.0.0.1:7071", url).replace("UseDevelopmentStorage=true", azurite)
        path = f"{BIN}:{os.environ['PATH']}"
        output = subprocess.check_output(["bash", "-euc", script], env={**os.environ, "PATH": path}, text=True)  # noqa: ASYNC221
        assert output.startswith("Hello Ada")
        await eventually(lambda: any("received resize" in line for line in log), 30)
