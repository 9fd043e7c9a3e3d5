"""The count of executions detects what it must detect."""

from __future__ import annotations

import base64
import io
import json
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image

from pipeline.engine import protocol
from pipeline.pool import engine_bundle
from tests.chaos.attempts import requeued, used_up
from tests.chaos.marked import JOBS, REPORT, said
from tests.chaos.pictures import BAD, MARK, marked, pictures
from tests.chaos.runs import Runs, counted, read
from tests.chaos.sources import Drop, job_id, source_of
from tests.chaos.witness import TAKEN_OVER, failures_said

DROPS = {"bad#0": Drop("bad", "text", "1"), "good#0": Drop("good", "good-01", "2")}


def kept(folder: Path, *runs: tuple[str, float, str]) -> Path:
    """Write a record of the pool: mark, time and result of each execution."""
    lines = []
    for number, (mark, began, told) in enumerate(runs):
        about = {"run": str(number), "marks": [mark]}
        lines.append({"time": began, "event": "began", "said": [""], **about})
        lines += [{"time": began + 0.1, "event": "ran", "said": [told], **about}] if told else []
    file = folder / "runs.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def found(file: Path, *, again: float = 0, reasons: float = 0, recorded: float = 0, taken_over: int = 0) -> list[str]:
    """Return the violations, given times of a retry, a fault and a recorded failure (0: never), and the takeovers."""
    runs = Runs(DROPS, BAD, [(again, "bad")] if again else [])
    runs.reasons += [(reasons, reasons)] if reasons else []
    runs.recorded |= {"bad#0": recorded} if recorded else {}
    runs.taken_over["bad"] = taken_over
    return list(runs.violations(file))


@pytest.mark.parametrize("mark", ["bad#0", "good#0"])
def test_a_second_execution_needs_a_reason_in_between(tmp_path: Path, mark: str) -> None:
    verdict = "not_an_image" if mark == "bad#0" else "made"
    file = kept(tmp_path, (mark, 100, verdict), (mark, 200, verdict))
    assert [mark in each for each in found(file)] == [True]
    assert [len(found(file, reasons=moment)) for moment in (50, 150, 250)] == [1, 0, 1]


def test_a_write_without_content_repeats_only_a_failed_or_running_job(tmp_path: Path) -> None:
    for mark, verdict, suspect in (("bad#0", "not_an_image", False), ("good#0", "made", True)):
        runs = Runs(DROPS, BAD, [])
        runs.touches.append((150, DROPS[mark].name))
        file = kept(tmp_path, (mark, 100, verdict), (mark, 200, verdict))
        assert bool(list(runs.violations(file))) is suspect
        runs.touches.append((101, DROPS[mark].name))
        assert list(runs.violations(file)) == []


def test_a_deployment_repeats_jobs(tmp_path: Path) -> None:
    file = kept(tmp_path, ("good#0", 100, "made"), ("good#0", 200, "made"))
    runs = Runs(DROPS, BAD, [], deployed=[150])
    assert list(runs.violations(file)) == []


@pytest.mark.parametrize("mark", ["bad#0", "good#0"])
def test_hosts_of_different_deployments_repeat_a_job_once(tmp_path: Path, mark: str) -> None:
    verdict = "not_an_image" if mark == "bad#0" else "made"
    file = kept(tmp_path, *((mark, moment, verdict) for moment in (200, 210, 220, 300)))
    counts = []
    for period in ((90, 230), (205, 215), (90, 100)):
        runs = Runs(DROPS, BAD, [], side_by_side=[period])
        runs.recorded |= {"bad#0": 201} if mark == "bad#0" else {}
        counts.append(len(list(runs.violations(file))))
    assert counts == [2, 2, 3]


def test_attempts_used_up_during_an_outage_are_found() -> None:
    now = datetime(2026, 11, 24, 12, 5).astimezone().timestamp()
    line = "12:04:{} INFO    [job_waiting 1] event=job.requeued [web.YQ] not done: the next attempt follows in 1 s {}\n"
    used = "(attempts used up: {}, lost to services: 3 s): no answer"
    text = "".join(line.format(second, used.format(count)) for second, count in (("10.500", 1), ("20.000", 2)))
    lines = list(requeued(text, now))
    assert [(each.moment, each.job, each.attempts) for each in lines] == [
        (now - 49.5, "web.YQ", 1),
        (now - 40, "web.YQ", 2),
    ]
    assert used_up(lines, [("before", now - 90, now - 60)]) == (0, [])
    waited, found = used_up(lines, [("outage", now - 45, now - 30)])
    assert waited == 1
    assert len(found) == 1
    assert used_up(requeued(text.replace("up: 2", "up: 1"), now), [("outage", now - 45, now - 30)]) == (1, [])


def test_a_run_without_a_result_is_no_violation(tmp_path: Path) -> None:
    assert found(kept(tmp_path, ("bad#0", 100, ""), ("bad#0", 200, "not_an_image"))) == []


def test_only_a_retry_justifies_a_run_after_a_recorded_failure(tmp_path: Path) -> None:
    file = kept(tmp_path, ("bad#0", 100, "not_an_image"), ("bad#0", 200, "not_an_image"))
    assert len(found(file, recorded=101, reasons=150)) == 1
    assert found(file, recorded=201, reasons=150) == []
    assert found(file, recorded=101, again=150) == []


def test_each_superseded_worker_justifies_one_execution(tmp_path: Path) -> None:
    file = kept(tmp_path, *(("bad#0", moment, "not_an_image") for moment in (100, 200, 300)))
    assert [len(found(file, recorded=101, reasons=250, taken_over=count)) for count in range(3)] == [2, 1, 0]


def test_a_failure_in_a_host_log_gets_a_date() -> None:
    now = datetime(2026, 11, 24, 0, 5).astimezone().timestamp()
    line = "{} WARNING [job_waiting 1] event=job.failed [web.{}] failed at execute: no image\n"
    text = "".join(line.format(*each) for each in (("23:59:59.500", "YQ"), ("00:04:00.000", "Yg")))
    assert list(failures_said(f"something else\n{text}", now)) == [("web.YQ", now - 300.5), ("web.Yg", now - 60)]


def test_the_source_of_a_job_is_read_from_its_id() -> None:
    assert source_of(job_id("photos/a b-0.jpg")) == "photos/a b-0.jpg"


def test_both_reports_of_a_takeover_are_recognized() -> None:
    line = "event=job.superseded [next.YQ] superseded: {}\n"
    reports = ("another worker has taken this job over", "a newer generation of next/a b/small.webp has been committed")
    assert [TAKEN_OVER.findall(line.format(report)) for report in reports] == [["next.YQ"], ["next.YQ"]]
    assert TAKEN_OVER.findall(line.format("the source was deleted")) == []
    unwritten = (
        "event=job.requeued [next.YQ] not done: the next attempt follows in 3 s ({}): {}: storage responded with 503"
    )
    assert TAKEN_OVER.findall(unwritten.format("attempts used up: 0", "writing the ledger")) == ["next.YQ"]
    assert TAKEN_OVER.findall(unwritten.format("attempts used up: 0", "reading input/a.jpg")) == []


def test_truncated_lines_are_ignored(tmp_path: Path) -> None:
    file = kept(tmp_path, ("bad#0", 100, "not_an_image"), ("good#0", 100, "made"))
    file.write_text(file.read_text()[:-10])
    runs = read(file)
    assert {mark: [run.said for run in each] for mark, each in runs.items()} == {
        "bad#0": ["not_an_image"],
        "good#0": [""],
    }
    assert counted(runs.values()) == {"sources": 2, "runs": 2, "most of one source": 1}


def test_job_and_report_lines_of_the_engine_are_parsed() -> None:
    job = protocol.encode_jobs({"source": "in-1.bin"})  # type: ignore[typeddict-item]
    asked = JOBS.search(engine_bundle.build().program(job, "0" * 32))
    assert asked
    assert json.loads(base64.b64decode(asked[1])) == [{"source": "in-1.bin"}]
    reports = json.dumps([{"failure": None}, {"failure": {"kind": "not_an_image", "message": "…"}}]).encode()
    stdout = f"something else\n{protocol.report_line(reports, '0' * 32, 'report-1.json')}\n"
    answer = json.dumps({"status": "Succeeded", "result": {"stdout": stdout}}).encode()
    assert said(answer, 2) == ["made", "not_an_image"]
    for broken in (b"", b"{}", b"[]", json.dumps({"result": {"stdout": "pipeline-engine-missing"}}).encode()):
        assert said(broken, 2) == ["", ""]
    assert REPORT.pattern.startswith(f"^{protocol.REPORT_MARK} ")


def test_a_mark_changes_no_pixel_and_is_found_again() -> None:
    for name, data in pictures().items():
        remarked = marked(data, "photos/0001.jpg#3")
        assert [each.decode() for each in MARK.findall(remarked)] == (["photos/0001.jpg#3"] if data else [])
        if name.startswith("good") or name == "bomb":
            before, after = (Image.open(io.BytesIO(each)) for each in (data, remarked))
            assert before.tobytes() == after.tobytes()
