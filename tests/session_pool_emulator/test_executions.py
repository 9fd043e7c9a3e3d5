"""Executions: results, output, errors, timeouts and order."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from tests.session_pool_emulator.emulator import Emulator

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_output_is_returned(shared_pool: Emulator, shared_session: str) -> None:
    body = await shared_pool.execute(shared_session, "print(7*9)")
    assert body["status"] == "Succeeded"
    assert body["identifier"] == shared_session
    assert body["executionType"] == "Synchronous"
    assert body["result"] | {"executionTimeInMilliseconds": 0} == {
        "stdout": "63\n",
        "stderr": "",
        "executionResult": "",
        "executionTimeInMilliseconds": 0,
    }


async def test_a_session_keeps_its_state_between_executions(shared_pool: Emulator, session: str) -> None:
    await shared_pool.execute(session, "x = 20")
    assert (await shared_pool.execute(session, "x + 1"))["result"]["executionResult"] == 21


async def test_an_exception_is_a_failed_execution_with_http_200(shared_pool: Emulator, shared_session: str) -> None:
    body = await shared_pool.execute(shared_session, "print('before'); 1 / 0")
    assert body["status"] == "Failed"
    assert body["result"]["stdout"] == "before\n"
    assert "ZeroDivisionError: division by zero" in body["result"]["stderr"]
    assert "\x1b" not in body["result"]["stderr"]


@pytest.mark.parametrize(
    ("code", "value", "jupyter"),
    [
        ("None", "", None),
        ("float('nan')", None, "nan"),
        ("'nan'", "nan", "'nan'"),
        ("1 + 1", 2, "2"),
        ("True", True, "True"),
        ("1.5", 1.5, "1.5"),
        ("[1, (2, 3)]", [1, [2, 3]], [1, [2, 3]]),
        ("{'a': float('inf')}", {"a": None}, {"a": None}),
        ("object", "object", "object"),
        ("x = 3", "", None),
    ],
)
async def test_the_last_expression_is_the_result(
    shared_pool: Emulator, shared_session: str, code: str, value: Any, jupyter: Any
) -> None:
    body = await shared_pool.execute(shared_session, code)
    assert body["result"]["executionResult"] == value
    body = await shared_pool.execute(shared_session, code, returnJupyterFormatExecutionResult=True)
    assert body["result"]["executionResult"] == jupyter


@pytest.mark.parametrize("code", ["image", "display(image)", "display(image)\nNone"])
async def test_an_image_is_returned_as_base64(shared_pool: Emulator, shared_session: str, code: str) -> None:
    code = f"from PIL import Image; image = Image.new('RGB', (4, 3), 'red')\n{code}"
    image = (await shared_pool.execute(shared_session, code))["result"]["executionResult"]
    assert image["type"] == "image"
    assert image["format"] == "png"
    assert base64.b64decode(image["base64_data"]).startswith(b"\x89PNG")


async def test_streams_are_truncated_without_a_marker(shared_pool: Emulator, shared_session: str) -> None:
    code = "import sys; print('o' * 5000, end=''); print('e' * 5000, end='', file=sys.stderr)"
    result = (await shared_pool.execute(shared_session, code))["result"]
    assert (result["stdout"], result["stderr"]) == ("o" * 4096, "e" * 4096)
    result = (await shared_pool.execute(shared_session, code, outputStreamsMaxLength=10))["result"]
    assert (result["stdout"], result["stderr"]) == ("o" * 10, "e" * 10)


async def test_code_can_be_base64_and_enumerations_any_case(shared_pool: Emulator, shared_session: str) -> None:
    code = base64.b64encode(b"print('caf\xc3\xa9')").decode()
    body = await shared_pool.execute(shared_session, code, codeInputType="inlineBASE64", executionType="synchronous")
    assert body["result"]["stdout"] == "café\n"


async def test_a_timeout_fails_the_execution_and_keeps_the_session(shared_pool: Emulator, session: str) -> None:
    code = "x = 1\nprint('started', flush=True)\nwhile True: pass"
    body = await shared_pool.execute(session, code, timeoutInSeconds=1)
    assert body["status"] == "Failed"
    assert body["result"]["stdout"] == "started\n"
    assert body["result"]["stderr"].endswith("Request timed out waiting for code execution to complete")
    assert await shared_pool.output(session, "print(x)") == "1\n"


async def test_a_dead_kernel_is_replaced_and_files_remain(shared_pool: Emulator, session: str) -> None:
    await shared_pool.execute(session, "x = 1; open('/mnt/data/kept', 'w').write('y')")
    body = await shared_pool.execute(session, "import os; os._exit(3)")
    assert (body["status"], body["result"]["stderr"]) == ("Failed", "Kernel restarted")
    assert await shared_pool.output(session, "print('x' in dir(), open('/mnt/data/kept').read())") == "False y\n"


async def test_executions_of_one_session_run_one_after_another(shared_pool: Emulator, session: str) -> None:
    await shared_pool.execute(session, "import time; log = []")
    code = "log.append('in'); time.sleep(0.1); log.append('out')"
    await asyncio.gather(*(shared_pool.execute(session, code) for _ in range(3)))
    assert await shared_pool.output(session, "print(*log)") == "in out in out in out\n"


async def test_files_can_be_uploaded_during_an_execution(shared_pool: Emulator, session: str) -> None:
    await shared_pool.execute(session, "import os, time")
    waiting = "while not os.path.exists('/mnt/data/go'): time.sleep(0.01)\nprint(open('/mnt/data/go').read())"
    execution = asyncio.create_task(shared_pool.output(session, waiting))
    assert (await shared_pool.upload(session, "go", b"now")).status_code == 200
    assert await execution == "now\n"
