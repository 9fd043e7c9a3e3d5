"""AutoGen executor: execute, upload, list, download. Runs in `.venv-clients`: ENDPOINT TOKEN."""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock, CodeResult
from autogen_ext.code_executors.azure import ACADynamicSessionsCodeExecutor

endpoint, token = sys.argv[1:]


class Credential:
    """Credential that returns the token from the command line."""

    def get_token(self, *_scopes: str, **_options: str) -> SimpleNamespace:
        """Return the token, valid for 600 seconds."""
        return SimpleNamespace(token=token, expires_on=time.time() + 600)


async def main() -> None:
    """Make the round trip."""
    folder = Path(tempfile.mkdtemp())
    executor = ACADynamicSessionsCodeExecutor(endpoint, Credential(), work_dir=folder)
    await executor.start()
    cancellation = CancellationToken()

    async def run(code: str) -> CodeResult:
        return await executor.execute_code_blocks([CodeBlock(code=code, language="python")], cancellation)

    result = await run("print('hi')")
    assert (result.exit_code, result.output) == (0, "hi\n"), result
    failed = await run("1 / 0")
    assert failed.exit_code == 1
    assert "ZeroDivisionError" in failed.output
    (folder / "in.txt").write_text("content")
    await executor.upload_files(["in.txt"], cancellation)
    assert await executor.get_file_list(cancellation) == ["in.txt"]
    assert (await run("open('out.txt', 'w').write(open('in.txt').read().upper()); None")).exit_code == 0
    (downloaded,) = await executor.download_files(["out.txt"], cancellation)
    assert (folder / Path(downloaded).name).read_text() == "CONTENT"
    await executor.stop()


asyncio.run(main())
