"""Queue triggers: delivered, hidden while running, retried, set aside; a stop lets them end."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
from pathlib import Path

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueMessage

from devstack.host.queues import encode
from tests.host.conftest import APPS, Host, Stage
from tests.waiting import eventually

shared = pytest.mark.asyncio(loop_scope="module")


@shared
async def test_a_message_reaches_its_function_with_its_id_and_count(served: tuple[Stage, Host]) -> None:
    stage, _ = served
    sent = await stage.queue().send_message(base64.b64encode(b'{"n": 1}').decode())
    (told,) = await stage.hear(1)
    await eventually(lambda: _empty(stage))
    assert (told["order"], told["id"], told["tries"]) == ({"n": 1}, sent.id, 1)


@shared
async def test_a_failed_message_is_tried_again(served: tuple[Stage, Host]) -> None:
    stage, _ = served
    await stage.send({"fail": 2})
    assert [each["tries"] for each in await stage.hear(3)] == [1, 2, 3]
    await eventually(lambda: _empty(stage))


@shared
async def test_a_message_that_keeps_failing_becomes_poison_as_it_came(served: tuple[Stage, Host]) -> None:
    stage, _ = served
    await stage.send({"fail": 9})
    await stage.hear(5)
    assert await _poison(stage) == encode('{"fail": 9}')


@shared
async def test_a_message_that_cannot_be_decoded_becomes_poison_at_once(served: tuple[Stage, Host]) -> None:
    stage, _ = served
    await stage.queue().send_message("not base64!")
    assert await _poison(stage) == "not base64!"


@shared
async def test_a_function_that_answers_where_it_must_not_has_failed(served: tuple[Stage, Host]) -> None:
    stage, host = served
    await stage.send("x", "-answering")
    await stage.hear(5)
    await _poison(stage, "-answering-poison")
    assert any("must return None, not str" in line for line in host.log)


async def test_a_message_stays_hidden_for_as_long_as_its_function_runs(stage: Stage) -> None:
    async with stage.host("--hidden", "2"), stage.host("--hidden", "2"):
        await stage.send({"sleep": 3})
        begun, ended = await stage.hear(2)
        assert (begun["tries"], ended["slept"]) == (1, 3)
        await eventually(lambda: _empty(stage))


async def test_no_more_run_at_once_than_host_json_allows(stage: Stage, tmp_path: Path) -> None:
    shutil.copy(APPS / "all/function_app.py", tmp_path)
    queues = {"batchSize": 2, "newBatchThreshold": 1, "maxPollingInterval": "00:00:01"}
    (tmp_path / "host.json").write_text(json.dumps({"version": "2.0", "extensions": {"queues": queues}}))
    for _ in range(6):
        await stage.send({"sleep": 0.5})
    async with stage.host(app=tmp_path):
        order = [("slept" in each) for each in await stage.hear(12)]
    under_way = [order[: n + 1].count(False) - order[: n + 1].count(True) for n in range(12)]
    assert max(under_way) <= 3


async def test_a_stop_lets_what_runs_end_and_leaves_the_rest(stage: Stage) -> None:
    async with stage.host() as host:
        await stage.send({"sleep": 1.5})
        await stage.hear(1)
        await host.process.stop(grace=10)
        assert "status 0" in str(await host.process.ended())
        assert [each["slept"] for each in await stage.hear(1)] == [1.5]
        await eventually(lambda: _empty(stage))


async def test_what_outlasts_the_grace_goes_back_to_the_queue_at_once(stage: Stage) -> None:
    async with stage.host("--grace", "0.2", "--hidden", "60") as host:
        await stage.send({"sleep": 20, "fail": 0})
        await stage.hear(1)
        await host.process.stop(grace=10)
        assert "status 0" in str(await host.process.ended())
    message = await stage.queue().receive_message()
    assert message is not None
    assert message.dequeue_count == 2


async def _empty(stage: Stage) -> bool:
    return not await stage.waiting(stage.queue())


async def _poison(stage: Stage, suffix: str = "-poison") -> str:
    """The next message that is set aside, as it is there."""
    found: list[QueueMessage] = []

    async def set_aside() -> bool:
        with contextlib.suppress(ResourceNotFoundError):
            found.extend([message async for message in stage.queue(suffix).receive_messages()])
        return bool(found)

    await eventually(set_aside)
    await stage.queue(suffix).delete_message(found[0])
    return str(found[0].content)
