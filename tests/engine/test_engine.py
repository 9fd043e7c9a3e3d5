"""Jobs from start to end: written files, removed files, and reports."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pipeline.engine import protocol
from pipeline.engine.errors import KINDS
from pipeline.engine.execution import jobs

from .conftest import KEY, Run, encoded, gradient, job, opened, rendition, steps

WEB = [rendition(str(side), "webp", ("resize", {"width": side})) for side in (50, 200, 100)]


def test_every_rendition_is_written_and_described(run: Run, tmp_path: Path) -> None:
    report = run(encoded(gradient(400, 300), "JPEG"), job(*WEB))
    assert report["failure"] is None
    assert [(made["name"], made["width"], made["height"]) for made in report["renditions"]] == [
        ("50", 50, 38),
        ("200", 200, 150),
        ("100", 100, 75),
    ]
    for made in report["renditions"]:
        body = (tmp_path / made["file"]).read_bytes()
        assert (len(body), hashlib.sha256(body).hexdigest()) == (made["size"], made["sha256"])
        assert opened(tmp_path / made["file"]).format == "WEBP"
    assert report["source"] == {"format": "JPEG", "mode": "RGB", "width": 400, "height": 300, "frames": 1}


def test_the_source_and_the_last_jobs_files_are_gone_afterwards(run: Run, tmp_path: Path) -> None:
    (tmp_path / "old.webp").write_bytes(b"x")
    run(encoded(gradient(40, 30)), job(rendition(), remove=["old.webp", "never-there"]))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out"]


def test_a_failure_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    report = run(
        encoded(gradient(400, 300)),
        job(rendition("a", "webp"), rendition("b", "png", ("crop", {"box": [0, 0, 900, 9]}))),
    )
    assert report["failure"]["kind"] == "crop_outside"
    assert report["renditions"] == []
    assert list(tmp_path.iterdir()) == []


def test_the_same_job_makes_the_same_bytes(run: Run) -> None:
    renditions = [rendition(kind, kind, ("resize", {"width": 160})) for kind in ("jpeg", "png", "webp", "avif")]
    body = encoded(gradient(400, 300), "JPEG")
    one, two = (run(body, job(*renditions))["renditions"] for _ in range(2))
    assert [made["sha256"] for made in one] == [made["sha256"] for made in two]


def test_the_report_is_the_last_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.bin").write_bytes(encoded(gradient(40, 30)))
    jobs.main(protocol.encode_jobs(job()), str(tmp_path), KEY)
    ref = protocol.parse_report_line(capsys.readouterr().out, KEY)
    assert ref is not None
    assert json.loads(ref["body"])[0]["renditions"][0]["width"] == 40


def test_a_long_report_goes_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.bin").write_bytes(encoded(gradient(40, 30)))
    jobs.main(protocol.encode_jobs(job(*(rendition(f"r{i}") for i in range(30)))), str(tmp_path), KEY)
    line = capsys.readouterr().out
    assert protocol.parse_report_line(line, KEY) == protocol.parse_report_line(line[:6000], KEY) | {  # type: ignore[operator]
        "body": (tmp_path / "report.json").read_bytes()
    }, "where the line is cut, the file it names is left"
    ref = protocol.parse_report_line(line[:6000], KEY)
    assert ref is not None
    assert ref["file"] == "report.json"
    body = protocol.check_report((tmp_path / "report.json").read_bytes(), ref)
    assert len(json.loads(body)[0]["renditions"]) == 30


def test_a_source_that_fails_does_not_fail_those_it_runs_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bodies = {"a.bin": encoded(gradient(40, 30)), "b.bin": b"no image", "c.bin": encoded(gradient(20, 10))}
    for name, body in bodies.items():
        (tmp_path / name).write_bytes(body)
    documents = [job(rendition(name[0]), source=name) for name in bodies]
    jobs.main(protocol.encode_jobs(*documents), str(tmp_path), KEY)
    ref = protocol.parse_report_line(capsys.readouterr().out, KEY)
    assert ref is not None
    reports = json.loads(ref["body"] or b"")
    assert [report["failure"] and report["failure"]["kind"] for report in reports] == [None, "not_an_image", None]
    assert [made["width"] for report in reports for made in report["renditions"]] == [40, 20]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "c"]


def test_small_renditions_of_several_jobs_are_bundled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.bin", "b.bin"):
        (tmp_path / name).write_bytes(encoded(gradient(40, 30)))
    documents = [job(rendition("out-a"), source="a.bin", pack="out-all.bin"), job(rendition("out-b"), source="b.bin")]
    jobs.main(protocol.encode_jobs(*documents), str(tmp_path), KEY)
    ref = protocol.parse_report_line(capsys.readouterr().out, KEY)
    assert ref is not None
    packed = (tmp_path / "out-all.bin").read_bytes()
    for report in json.loads(ref["body"] or b""):
        (made,) = report["renditions"]
        assert packed[made["offset"] : made["offset"] + made["size"]] == (tmp_path / made["file"]).read_bytes()


@pytest.mark.parametrize(
    "document",
    [
        "not base64!",
        protocol.encode_jobs({"version": protocol.VERSION}),  # type: ignore[typeddict-item]
        protocol.encode_jobs(job(version=99)),
        protocol.encode_jobs(job(source="../in.bin")),
        protocol.encode_jobs(job(source="..")),
        protocol.encode_jobs(job(source="a\0b")),
        protocol.encode_jobs(job(rendition("a/b"))),
        protocol.encode_jobs(job(rendition("a", "bmp2"))),
        protocol.encode_jobs(job(rendition("a", "webp", speed=5))),
        protocol.encode_jobs(job(shared=steps(("melt", {})))),
        protocol.encode_jobs(job(shared=steps(("resize", {"sides": 5})))),
    ],
)
def test_a_job_that_cannot_be_read_is_a_failure_too(
    document: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.bin").write_bytes(encoded(gradient(40, 30)))
    jobs.main(document, str(tmp_path), KEY)
    ref = protocol.parse_report_line(capsys.readouterr().out, KEY)
    assert ref is not None
    assert json.loads(ref["body"])[0]["failure"]["kind"] == "bad_job"


def test_the_engine_runs_from_an_archive_without_the_host(tmp_path: Path) -> None:
    root = Path(protocol.__file__).parent
    with zipfile.ZipFile(tmp_path / "engine.zip", "w") as archive:
        for file in root.rglob("*.py"):
            archive.write(file, f"engine_abc/{file.relative_to(root).as_posix()}")
    (tmp_path / "in.bin").write_bytes(encoded(gradient(40, 30)))
    code = (
        f"import sys; sys.path.insert(0, 'engine.zip'); from engine_abc.execution.jobs import main; "
        f"main({protocol.encode_jobs(job())!r}, '.', {KEY!r}); "
        f"assert not {{'pydantic', 'yaml', 'pipeline', 'typing_extensions'}} & set(sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    ref = protocol.parse_report_line(out.stdout, KEY)
    assert ref is not None
    assert json.loads(ref["body"])[0]["failure"] is None


def test_the_host_reads_the_parameters_without_pillow() -> None:
    pytest.importorskip("pydantic", reason="the host needs pydantic, a session does not")
    code = "import sys; sys.modules['PIL'] = None; import pipeline.recipes, pipeline.engine.execution.jobs"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(protocol.__file__).parents[2])


def test_every_kind_of_failure_is_in_the_table() -> None:
    root = Path(protocol.__file__).parent
    named = set()
    for file in root.rglob("*.py"):
        named |= set(re.findall(r'(?:EngineError\(\s*|kind=)"([a-z_]+)"', file.read_text()))
    assert named <= set(KINDS)
