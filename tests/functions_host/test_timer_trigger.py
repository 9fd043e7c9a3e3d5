"""Timer triggers: on schedule, on one host at a time, and made up for when missed."""

from __future__ import annotations

import json

from tests.host.conftest import APPS, Stage

TIMED = APPS / "timed"


async def test_a_timer_runs_on_its_schedule_and_on_one_host_only(stage: Stage) -> None:
    async with stage.host(app=TIMED), stage.host(app=TIMED):
        told = [each for each in await stage.hear(4) if each["function"] == "often"]
        assert len(told) == 3
    assert len({each["pid"] for each in told}) == 1
    assert not any(each["past_due"] for each in told)


async def test_a_timer_runs_at_startup_when_it_asks_to_and_when_a_time_was_missed(stage: Stage) -> None:
    async with stage.host(app=TIMED, EVERY="0 0 0 1 1 *"):
        (told,) = await stage.hear(1)
        assert (told["function"], told["past_due"]) == ("yearly", False)
    missed = {"Last": "2020-01-01T00:00:00+00:00", "Next": "2021-01-01T00:00:00+00:00", "LastUpdated": ""}
    hosts = stage.blobs.get_container_client("azure-webjobs-hosts")
    await hosts.upload_blob(f"timers/{stage.name}/often/status", json.dumps(missed), overwrite=True)
    async with stage.host(app=TIMED, EVERY="0 0 0 1 1 *"):
        assert {each["function"]: each["past_due"] for each in await stage.hear(2)} == {"often": True, "yearly": False}
