"""Queue triggers: delivery, visibility, retries, dead letters and graceful shutdown."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
from pathlib import Path

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueMessage

from functions_host.queue_listener import encode_message
from tests.functions_host.conftest import APPS, Host, HostEnvironment
from tests.waiting import eventually

in_module_loop = pytest.mark.asyncio(loop_scope="module")
SharedHost = tuple[HostEnvironment, Host]


@in_module_loop
async def test_a_function_gets_the_message_with_id_and_dequeue_count(shared_host: SharedHost) -> None:
    environment, _ = shared_host
    sent = await environment.queue().send_message(base64.b64encode(b'{"n": 1}').decode())
    (report,) = await environment.reports(1)
    await eventually(lambda: is_empty(environment))
    assert (report["content"], report["id"], report["attempt"]) == ({"n": 1}, sent.id, 1)


@in_module_loop
async def test_a_failed_message_is_retried(shared_host: SharedHost) -> None:
    environment, _ = shared_host
    await environment.send({"fail": 2})
    assert [each["attempt"] for each in await environment.reports(3)] == [1, 2, 3]
    await eventually(lambda: is_empty(environment))


@in_module_loop
async def test_a_message_is_dead_lettered_unchanged_after_5_attempts(shared_host: SharedHost) -> None:
    environment, _ = shared_host
    await environment.send({"fail": 9})
    await environment.reports(5)
    assert await dead_letter(environment) == encode_message('{"fail": 9}')


@in_module_loop
async def test_an_undecodable_message_is_dead_lettered_at_once(shared_host: SharedHost) -> None:
    environment, _ = shared_host
    await environment.queue().send_message("not base64!")
    assert await dead_letter(environment) == "not base64!"


@in_module_loop
async def test_a_function_that_returns_a_value_has_failed(shared_host: SharedHost) -> None:
    environment, host = shared_host
    await environment.send("x", "-returning")
    await environment.reports(5)
    await dead_letter(environment, "-returning-poison")
    assert any("must return None, not str" in line for line in host.log)


async def test_a_message_stays_invisible_while_its_function_runs(environment: HostEnvironment) -> None:
    async with environment.host("--hidden", "2"), environment.host("--hidden", "2"):
        await environment.send({"sleep": 3})
        started, ended = await environment.reports(2)
        assert (started["attempt"], ended["slept"]) == (1, 3)
        await eventually(lambda: is_empty(environment))


async def test_host_json_limits_concurrent_messages(environment: HostEnvironment, tmp_path: Path) -> None:
    shutil.copy(APPS / "every_trigger" / "function_app.py", tmp_path)
    queues = {"batchSize": 2, "newBatchThreshold": 1, "maxPollingInterval": "00:00:01"}
    (tmp_path / "host.json").write_text(json.dumps({"version": "2.0", "extensions": {"queues": queues}}))
    for _ in range(6):
        await environment.send({"sleep": 0.5})
    async with environment.host(app=tmp_path):
        is_end = [("slept" in each) for each in await environment.reports(12)]
    concurrent = [is_end[: n + 1].count(False) - is_end[: n + 1].count(True) for n in range(12)]
    assert max(concurrent) <= 3


async def test_shutdown_waits_for_running_invocations(environment: HostEnvironment) -> None:
    async with environment.host() as host:
        await environment.send({"sleep": 1.5})
        await environment.reports(1)
        await host.process.stop(grace=10)
        assert "status 0" in str(await host.process.wait_for_exit())
        assert [each["slept"] for each in await environment.reports(1)] == [1.5]
        await eventually(lambda: is_empty(environment))


async def test_after_the_grace_period_a_message_is_visible_at_once(environment: HostEnvironment) -> None:
    async with environment.host("--grace", "0.2", "--hidden", "60") as host:
        await environment.send({"sleep": 20, "fail": 0})
        await environment.reports(1)
        await host.process.stop(grace=10)
        assert "status 0" in str(await host.process.wait_for_exit())
    message = await environment.queue().receive_message()
    assert message is not None
    assert message.dequeue_count == 2


async def is_empty(environment: HostEnvironment) -> bool:
    """Return whether the queue of the queue trigger is empty."""
    return not await environment.message_count(environment.queue())


async def dead_letter(environment: HostEnvironment, suffix: str = "-poison") -> str:
    """Wait for the next dead letter, remove it and return its content."""
    messages: list[QueueMessage] = []

    async def has_arrived() -> bool:
        with contextlib.suppress(ResourceNotFoundError):
            messages.extend([message async for message in environment.queue(suffix).receive_messages()])
        return bool(messages)

    await eventually(has_arrived)
    await environment.queue(suffix).delete_message(messages[0])
    return str(messages[0].content)
