"""The command line of jobs and runs, as a script calls it, on the embedded stack."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from pipeline.cli import build, common
from pipeline.storage.queue import Message
from tests.images import picture
from tests.stack import Stack


def pipeline(*arguments: str | Path, **environ: str) -> Result:
    """Run a command in this process: starting one takes longer than all that it does."""
    clean = {name: None for name in os.environ if name.startswith(("PIPELINE_", "IMAGES"))}
    return CliRunner().invoke(build(str(arguments[0])), list(map(str, arguments)), env={**clean, **environ})


async def told(stack: Stack, *arguments: str | Path, status: int = 0) -> Any:
    """What a command prints as JSON; this loop goes on meanwhile."""
    ran = await asyncio.to_thread(pipeline, *arguments, "--json", **stack.environ)
    assert ran.exit_code == status, ran.output
    return json.loads(ran.stdout)


ROOT = Path(__file__).parents[2]


async def dropped(stack: Stack, name: str, data: bytes) -> None:
    await stack.drop(name, data)
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, name)


async def test_a_file_is_submitted_listed_shown_and_pruned(stack: Stack, tmp_path: Path) -> None:
    photo = tmp_path / "ü 1.jpg"
    photo.write_bytes(picture())
    (submitted,) = await told(stack, "submit", "web", photo, "--prefix", "photos/")
    assert submitted["state"] == "queued"
    (message,) = await stack.messages()
    await stack.services.dispatcher.execute_message(Message(**message))
    shown = await told(stack, "job", "photos/ü 1.jpg", "--recipe", "web")
    assert (shown["id"], shown["state"], len(shown["renditions"])) == (submitted["id"], "done", 2)
    listed = await told(stack, "jobs", "--state", "done")
    assert ([job["id"] for job in listed["jobs"]], listed["next"]) == ([shown["id"]], None)
    again = await asyncio.to_thread(pipeline, "submit", "web", photo, "--prefix", "photos/", **stack.environ)
    assert (again.exit_code, "there is a blob" in again.stderr) == (1, True)
    await stack.services.account.container(stack.services.settings.input_container).delete_blob("photos/ü 1.jpg")
    assert len((await told(stack, "prune"))["found"]) == 2
    assert len(await stack.outputs()) == 2
    assert len((await told(stack, "prune", "--delete"))["deleted"]) == 2
    assert await stack.outputs() == {}


async def test_failures_are_listed_retried_and_dismissed(stack: Stack) -> None:
    for number in range(3):
        await dropped(stack, f"photos/{number}.jpg", b"not an image")
    found = await told(stack, "failures")
    assert [(kind["kind"], kind["count"]) for kind in found["kinds"]] == [("not_an_image", 3)]
    job = found["failures"][0]["id"]
    assert (await told(stack, "job", job, status=3))["error"]["class"] == "SourceError"
    assert [one["state"] for one in await told(stack, "dismiss", job)] == ["dismissed"]
    assert await told(stack, "retry", "--kind", "not_an_image") == {"retried": 2}
    assert await stack.waiting() == 2
    refused = await asyncio.to_thread(pipeline, "retry", **stack.environ)
    assert (refused.exit_code, "--all" in refused.stderr) == (1, True)


async def test_ids_are_whole_and_names_on_one_line_on_every_terminal(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["photos/\n[red]ü.jpg", f"photos/{'long ' * 30}.jpg"]
    for name in names:
        await dropped(stack, name, b"not an image")
    ids = {job["id"] for job in (await told(stack, "jobs"))["jobs"]}
    for command in (("jobs",), ("failures",)):
        for width in (common.ENDLESS, 80):
            monkeypatch.setattr(common.console, "width", width)
            ran = await asyncio.to_thread(pipeline, *command, **stack.environ)
            lines = ran.stdout.splitlines()
            found = [line for line in lines if any(f" {job}" in line for job in ids)]
            assert len(found) == 2, ran.stdout
            assert all(("not_an_image:" in line) == (width == common.ENDLESS) for line in found), ran.stdout
            assert any("photos/\\n[red]ü.jpg" in line for line in lines), ran.stdout
    for job in ids:
        ran = await asyncio.to_thread(pipeline, "job", job, **stack.environ)
        assert job in {line.split()[-1] for line in ran.stdout.splitlines()}


async def test_a_run_is_planned_started_followed_and_listed(stack: Stack) -> None:
    for number in range(3):
        await stack.drop(f"photos/{number}.jpg", picture(60, 40))
    await stack.drop("photos/bad.jpg", b"not an image")
    plan = await told(stack, "plan", "--recipe", "web")
    assert (plan["jobs"], plan["complete"], plan["reasons"]) == (4, True, {"new": 4})
    following = asyncio.create_task(told(stack, "reprocess", "--plan", plan["id"], status=3))
    while not following.done():
        await stack.work_off()
        await asyncio.sleep(0.2)
    run = await following
    assert (run["state"], run["progress"]["done"], run["progress"]["failed"]) == ("done", 3, 1)
    assert [each["id"] for each in (await told(stack, "runs"))["runs"]] == [run["id"]]
    assert (await told(stack, "runs", "show", run["id"], status=3))["id"] == run["id"]
    assert await told(stack, "reprocess", "--recipe", "web") is None
    over = await asyncio.to_thread(pipeline, "runs", "cancel", run["id"], **stack.environ)
    assert (over.exit_code, "done already" in over.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("plan", "--reason", "sometimes"), 1, "reasons"),
        (("plan", "--reason", "chnaged"), 1, "reasons: there is no reason 'chnaged'; did you mean 'changed'?\n"),
        (("plan", "--older-than", "7days"), 2, "Invalid value for --older-than"),
        (("jobs", "--state", "lost"), 1, "dismissed"),
        (("runs", "show", "nonsense"), 1, "no run"),
        (("job", "nonsense"), 1, "not the id"),
        (("jobs", "--page", "nonsense"), 1, "token"),
        (("reprocess", "--plan", "nonsense"), 1, "no plan"),
    ],
)
def test_what_makes_no_sense_is_told_without_a_traceback(
    environ: dict[str, str], arguments: tuple[str, ...], status: int, says: str
) -> None:
    assert pipeline("init", **environ).exit_code == 0
    ran = pipeline(*arguments, **environ)
    assert ran.exit_code == status
    assert says in ran.stderr


async def test_the_doctor_finds_nothing_wrong_and_the_pool_is_shown(stack: Stack) -> None:
    findings = await told(stack, "doctor")
    assert {finding["verdict"] for finding in findings} == {"good"}
    assert {"clock", "token", "session pool", "failures"} <= {finding["what"] for finding in findings}
    pool = await told(stack, "pool")
    assert (pool["capacity"], pool["free"], len(pool["slots"])) == (2, 2, 2)
    await dropped(stack, "photos/a.jpg", picture())
    shown = (await asyncio.to_thread(pipeline, "pool", **stack.environ)).stdout
    assert any(
        "leased" in line and line.rstrip().endswith(("idle: kept for the next job", "who holds it"))
        for line in shown.splitlines()
    ), shown
    assert "USD by default" in shown


async def test_the_doctor_says_what_is_wrong_and_what_to_change(stack: Stack) -> None:
    settings = stack.services.settings
    await stack.services.account.table(settings.run_table).delete_table()
    await dropped(stack, "photos/bad.jpg", b"not an image")
    broken = Stack(stack.services, {**stack.environ, "PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1"})
    findings = {finding["what"]: finding for finding in await told(broken, "doctor", status=1)}
    assert "PIPELINE_POOL_ENDPOINT" in findings["session pool"]["seen"]
    assert "image-pipeline init" in findings["runs table"]["seen"]
    assert (findings["failures"]["verdict"], findings["clock"]["verdict"]) == ("look", "good")
    none = await asyncio.to_thread(pipeline, "doctor", PIPELINE_POOL_ENDPOINT="http://127.0.0.1:1")
    assert (none.exit_code, "IMAGES" in none.stdout) == (1, True)


def test_an_estimate_needs_no_stack_and_follows_its_times() -> None:
    def seconds(*more: str) -> float:
        ran = pipeline("estimate", "--images", "20000", "--sessions", "10", "--execution-ms", "500", *more, "--json")
        assert ran.exit_code == 0, ran.stderr
        return float(json.loads(ran.stdout)["seconds"])

    # 2,000 jobs in each session, one at a time, and nine new sessions on the way.
    assert 1000 <= seconds("--start-seconds", "0") < 1010
    assert 1000 + 9 * 4 <= seconds() < 1050
    assert seconds("--upload-ms", "2000", "--seats", "2", "--start-seconds", "0") > 2000, (
        "transfers outlast what they overlap with"
    )


def test_a_folder_goes_through_a_stack_of_its_own(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(picture(500, 500))
    argv = [
        sys.executable,
        "-m",
        "pipeline",
        "run",
        photos,
        "--recipe",
        "tutorial",
        "--out",
        tmp_path / "out",
        "--json",
    ]
    ran = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert ran.returncode == 0, ran.stderr
    (job,) = json.loads(ran.stdout)
    assert (job["complete"], Path(job["files"]["cropped"]).exists()) == (True, True)
