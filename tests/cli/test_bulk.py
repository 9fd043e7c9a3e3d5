"""Commands about jobs, runs, the pool and `doctor`, on the local stack."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from pipeline.cli import common
from pipeline.runs import ledger_reshard
from pipeline.storage.queue import Message
from tests.cli.runner import pipeline, pipeline_json
from tests.images import image_bytes
from tests.stack import Stack


async def upload(stack: Stack, name: str, data: bytes) -> None:
    """Upload a source and handle its event."""
    await stack.upload(name, data)
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, name)


async def test_a_file_is_submitted_listed_shown_and_pruned(stack: Stack, tmp_path: Path) -> None:
    photo = tmp_path / "ü 1.jpg"
    photo.write_bytes(image_bytes())
    (submitted,) = await pipeline_json(stack, "submit", "web", photo, "--prefix", "photos/")
    assert submitted["state"] == "queued"
    (message,) = await stack.messages()
    await stack.services.dispatcher.execute_message(Message(**message))
    shown = await pipeline_json(stack, "job", "photos/ü 1.jpg", "--recipe", "web")
    assert (shown["id"], shown["state"], len(shown["renditions"])) == (submitted["id"], "done", 2)
    listed = await pipeline_json(stack, "jobs", "--state", "done")
    assert ([job["id"] for job in listed["jobs"]], listed["next"]) == ([shown["id"]], None)
    repeated = await asyncio.to_thread(pipeline, "submit", "web", photo, "--prefix", "photos/", **stack.environ)
    assert (repeated.exit_code, "photos/ü 1.jpg exists" in repeated.stderr) == (1, True)
    missing = await asyncio.to_thread(pipeline, "submit", "web", "photos/none.jpg", **stack.environ)
    assert (missing.exit_code, "neither a file photos/none.jpg nor a blob" in missing.stderr) == (1, True)
    rebuilt = await pipeline_json(stack, "ledger", "rebuild", "--dry-run")
    assert (rebuilt["renditions"], rebuilt["present"], rebuilt["adopted"]) == (2, 1, 0)
    lines = (await asyncio.to_thread(pipeline, "ledger", "rebuild", **stack.environ)).stdout
    assert "2 marked renditions read\n0 jobs adopted\n1 job present: the ledger has this row or a newer one" in lines
    await stack.services.account.container(stack.services.settings.input_container).delete_blob("photos/ü 1.jpg")
    assert len((await pipeline_json(stack, "prune"))["orphans"]) == 2
    assert len(await stack.outputs()) == 2
    assert len((await pipeline_json(stack, "prune", "--delete"))["deleted"]) == 2
    assert await stack.outputs() == {}


async def test_a_paused_ledger_is_resharded(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for constant in ("VALID_SECONDS", "LATE_WRITE_SECONDS", "CACHE_SECONDS", "READ_TIMEOUT_SECONDS"):
        monkeypatch.setattr(ledger_reshard, constant, 0.0)
    monkeypatch.setattr(ledger_reshard, "MARGIN_SECONDS", -3600.0)
    for number in range(3):
        await upload(stack, f"photos/{number}.jpg", image_bytes())
    before = await pipeline_json(stack, "jobs")
    refused = await asyncio.to_thread(pipeline, "ledger", "reshard", "5", **stack.environ)
    assert (refused.exit_code, "are not paused: run `image-pipeline pause`" in refused.stderr) == (1, True)
    await pipeline_json(stack, "pause")
    done = await asyncio.to_thread(pipeline, "ledger", "reshard", "5", **stack.environ)
    assert (done.exit_code, "the ledger has 5 shards" in done.stdout) == (0, True), done.output
    await pipeline_json(stack, "resume")
    assert await pipeline_json(stack, "jobs") == before
    assert (await pipeline_json(stack, "plan"))["jobs"] == 0


async def test_a_file_whose_name_no_blob_can_have_is_skipped(stack: Stack, tmp_path: Path) -> None:
    names = ["a.jpg", os.fsdecode(b"b\xfc.jpg"), "c\n.jpg"]
    for name in names:
        (tmp_path / name).write_bytes(image_bytes())
    files = [tmp_path / name for name in names]
    result = await asyncio.to_thread(pipeline, "submit", "web", *files, "--json", **stack.environ)
    (submitted,) = json.loads(result.stdout)
    assert submitted["source"].endswith("/a.jpg")
    assert (result.exit_code, result.stderr.splitlines()) == (
        1,
        [
            "skipped b\\xfc.jpg: its name is not UTF-8: rename the file",
            "skipped c\\n.jpg: its name has a control character: rename the file",
        ],
    )


async def test_lists_continue_at_a_cursor(stack: Stack) -> None:
    for number in range(3):
        await upload(stack, f"photos/{number}.jpg", b"not an image")
    page = await pipeline_json(stack, "jobs", "--limit", "2")
    rest = await pipeline_json(stack, "jobs", "--limit", "2", "--cursor", page["next"])
    assert len({job["id"] for job in page["jobs"] + rest["jobs"]}) == 3
    result = await asyncio.to_thread(pipeline, "jobs", "--limit", "2", **stack.environ)
    assert result.stdout.endswith(f"more: --cursor {page['next']}\n")


async def test_failures_are_listed_retried_and_dismissed(stack: Stack) -> None:
    for number in range(3):
        await upload(stack, f"photos/{number}.jpg", b"not an image")
    listed = await pipeline_json(stack, "failures")
    assert [(kind["kind"], kind["count"]) for kind in listed["kinds"]] == [("not_an_image", 3)]
    job = listed["failures"][0]["id"]
    assert (await pipeline_json(stack, "job", job, status=3))["error"]["class"] == "SourceError"
    assert [one["state"] for one in await pipeline_json(stack, "dismiss", job)] == ["dismissed"]
    assert await pipeline_json(stack, "retry", "--kind", "not_an_image") == {"retried": 2}
    assert await stack.waiting_messages() == 2
    refused = await asyncio.to_thread(pipeline, "retry", **stack.environ)
    assert (refused.exit_code, "--all" in refused.stderr) == (1, True)


async def test_ids_are_unbroken_and_names_on_one_line(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["photos/\n[red]ü.jpg", f"photos/{'long ' * 30}.jpg"]
    for name in names:
        await upload(stack, name, b"not an image")
    ids = {job["id"] for job in (await pipeline_json(stack, "jobs"))["jobs"]}
    for command in ("jobs", "failures"):
        for width in (common.UNLIMITED_WIDTH, 80):
            monkeypatch.setattr(common.console, "width", width)
            output = (await asyncio.to_thread(pipeline, command, **stack.environ)).stdout
            lines = [line for line in output.splitlines() if any(f" {job}" in line for job in ids)]
            assert len(lines) == 2, output
            on_one_line = [("not_an_image:" in line or "bad_name:" in line) for line in lines]
            assert on_one_line == [width == common.UNLIMITED_WIDTH] * 2, output
            assert any("photos/\\n[red]ü.jpg" in line for line in output.splitlines()), output
    for job in ids:
        output = (await asyncio.to_thread(pipeline, "job", job, **stack.environ)).stdout
        assert job in {line.split()[-1] for line in output.splitlines()}


async def test_a_run_is_planned_started_followed_and_listed(stack: Stack) -> None:
    for number in range(3):
        await stack.upload(f"photos/{number}.jpg", image_bytes(60, 40))
    await stack.upload("photos/bad.jpg", b"not an image")
    plan = await pipeline_json(stack, "plan", "--recipe", "web")
    assert (plan["jobs"], plan["complete"], plan["reasons"]) == (4, True, {"new": 4})
    following = asyncio.create_task(pipeline_json(stack, "reprocess", "--plan", plan["id"], status=3))
    while not following.done():
        await stack.process_messages()
        await asyncio.sleep(0.2)
    run = await following
    assert (run["state"], run["progress"]["done"], run["progress"]["failed"]) == ("done", 3, 1)
    assert [each["id"] for each in (await pipeline_json(stack, "runs"))["runs"]] == [run["id"]]
    assert (await pipeline_json(stack, "runs", "show", run["id"], status=3))["id"] == run["id"]
    assert await pipeline_json(stack, "reprocess", "--recipe", "web") is None
    over = await asyncio.to_thread(pipeline, "runs", "cancel", run["id"], **stack.environ)
    assert (over.exit_code, "done already" in over.stderr) == (1, True)


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        ("plan --reason sometimes", 1, "reasons"),
        ("plan --reason chnaged", 1, "reasons: there is no reason 'chnaged'; did you mean 'changed'?\n"),
        ("plan --older-than 7days", 2, "Invalid value for --older-than"),
        ("jobs --state lost", 2, "'dismissed'"),
        ("runs show nonsense", 1, "no run"),
        ("job nonsense", 1, "is not a job id"),
        ("jobs --cursor nonsense", 1, "invalid_cursor"),
        ("reprocess --plan nonsense", 1, "no plan"),
    ],
)
def test_invalid_arguments_are_reported(environ: dict[str, str], command: str, status: int, message: str) -> None:
    assert pipeline("init", **environ).exit_code == 0
    result = pipeline(*command.split(), **environ)
    assert result.exit_code == status
    assert message in result.stderr


async def test_doctor_finds_no_problem_and_the_pool_is_shown(stack: Stack) -> None:
    findings = await pipeline_json(stack, "doctor")
    assert {finding["status"] for finding in findings} == {"ok"}
    assert {"clock", "token", "session pool", "failures"} <= {finding["check"] for finding in findings}
    pool = await pipeline_json(stack, "pool")
    assert (pool["capacity"], pool["free"], len(pool["slots"])) == (2, 2, 2)
    await upload(stack, "photos/a.jpg", image_bytes())
    output = (await asyncio.to_thread(pipeline, "pool", **stack.environ)).stdout
    assert ("leased" in output, "USD by default" in output) == (True, True)


async def test_doctor_reports_problems_with_remedies(stack: Stack) -> None:
    settings = stack.services.settings
    await upload(stack, "photos/bad.jpg", b"not an image")
    await stack.services.account.table(settings.run_table).delete_table()
    broken = Stack(stack.services, {**stack.environ, "PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1"})
    findings = {finding["check"]: finding for finding in await pipeline_json(broken, "doctor", status=1)}
    assert "PIPELINE_POOL_ENDPOINT" in findings["session pool"]["detail"]
    assert "image-pipeline init" in findings[f"table {settings.run_table}"]["detail"]
    assert (findings["failures"]["status"], findings["clock"]["status"]) == ("warning", "ok")
    none = await asyncio.to_thread(pipeline, "doctor", PIPELINE_POOL_ENDPOINT="http://127.0.0.1:1")
    assert (none.exit_code, "IMAGES" in none.stdout) == (1, True)
