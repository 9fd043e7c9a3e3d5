"""Timer triggers run on schedule, on one host at a time, and make up for missed times."""

from __future__ import annotations

import json

from tests.functions_host.conftest import APPS, HostEnvironment

TIMERS = APPS / "timers"


async def test_a_timer_runs_on_schedule_and_on_one_host_only(environment: HostEnvironment) -> None:
    async with environment.host(app=TIMERS), environment.host(app=TIMERS):
        await environment.reports(1, exact=False)  # both hosts are ready: ignore earlier runs
        runs = await environment.reports(3, exact=False)
    assert {each["function"] for each in runs} == {"scheduled"}
    assert len({each["pid"] for each in runs}) == 1
    assert not any(each["past_due"] for each in runs)


async def test_a_timer_runs_at_startup_and_after_a_missed_time(environment: HostEnvironment) -> None:
    async with environment.host(app=TIMERS, SCHEDULE="0 0 0 1 1 *"):
        (run,) = await environment.reports(1)
        assert (run["function"], run["past_due"]) == ("yearly", False)
    missed = {"Last": "2020-01-01T00:00:00+00:00", "Next": "2021-01-01T00:00:00+00:00", "LastUpdated": ""}
    container = environment.blobs.get_container_client("azure-webjobs-hosts")
    await container.upload_blob(f"timers/{environment.name}/scheduled/status", json.dumps(missed), overwrite=True)
    async with environment.host(app=TIMERS, SCHEDULE="0 0 0 1 1 *"):
        runs = await environment.reports(2)
    assert {each["function"]: each["past_due"] for each in runs} == {"scheduled": True, "yearly": False}
