"""Tamper check: changes that foreign code leaves in a session."""

from __future__ import annotations

import json
import os
import signal
import site
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.engine import protocol
from pipeline.engine.execution import jobs, tamper_check
from tests.engine.conftest import KEY, encoded, gradient, job


@pytest.fixture
def watch(tmp_path: Path) -> tamper_check.TamperCheck:
    (tmp_path / "there-before").write_bytes(b"of the session image")
    (tmp_path / "in-0123456789ab.bin").write_bytes(b"")
    (tmp_path / "asset-0123456789abcdef.ttf").write_bytes(b"")
    (tmp_path / "engine-0123456789abcdef.zip").write_bytes(b"")
    return tamper_check.TamperCheck(tmp_path)


def test_a_session_as_the_host_keeps_it_is_tidy(watch: tamper_check.TamperCheck, tmp_path: Path) -> None:
    (tmp_path / "out-0123456789ab-0.webp").write_bytes(b"")
    (tmp_path / "report-0123456789ab.json").write_bytes(b"")
    assert [watch.before_execution(), watch.after_execution()] == ["", ""]


def left(file: Path) -> None:
    """Write a file with an old time of modification."""
    file.write_text("x")
    os.utime(file, (1e9, 1e9))


def test_an_upload_in_progress_is_no_finding(watch: tamper_check.TamperCheck, tmp_path: Path) -> None:
    """The service may use any temporary name, and files arrive while other jobs run."""
    (tmp_path / ".upload-in-progress-0123").write_bytes(b"half")
    assert [watch.before_execution(), watch.after_execution()] == ["", ""]


FILES: dict[str, Callable[[Path], Any]] = {
    "a file": lambda place: left(place / "notes.txt"),
    "a hidden file": lambda place: left(place / ".x"),
    "a folder": lambda place: (place / "out-folder").mkdir(),
    "a link": lambda place: (place / "out-0-0.webp").symlink_to("/etc/hostname"),
    "a second name": lambda place: os.link(place / "in-0123456789ab.bin", place / "in-ffffffffffff.bin"),
    "a pipe": lambda place: os.mkfifo(place / "in-ffffffffffff.bin"),
    "a module": lambda place: (place / "json.py").write_text("x"),
}


def test_a_changed_engine_archive_is_found(watch: tamper_check.TamperCheck, tmp_path: Path) -> None:
    """Modules are loaded from the archive at first use, so code in another module would run for the next job."""
    archive = tmp_path / "engine-0123456789abcdef.zip"
    before = archive.stat()
    archive.write_bytes(b"other code")
    os.utime(archive, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert watch.after_execution() == "another content of engine-0123456789abcdef.zip"


def test_the_same_engine_archive_may_be_uploaded_again(watch: tamper_check.TamperCheck, tmp_path: Path) -> None:
    (tmp_path / "engine-0123456789abcdef.zip").write_bytes(b"")
    assert [watch.before_execution(), watch.after_execution()] == ["", ""]


@pytest.mark.parametrize("kind", FILES)
def test_unexpected_files_are_found(watch: tamper_check.TamperCheck, tmp_path: Path, kind: str) -> None:
    FILES[kind](tmp_path)
    assert watch.after_execution().startswith("a file ")
    assert watch.before_execution().startswith("a file "), "it does not go by itself"


@pytest.mark.parametrize(
    "place",
    [(Image, "open"), (Image.Image, "load"), (json, "loads"), (jobs, "execute_job"), (protocol, "encode_reports")],
)
def test_functions_that_were_replaced_are_found(
    watch: tamper_check.TamperCheck, place: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.before_execution()
    monkeypatch.setattr(*place, lambda *_, **__: None)
    assert watch.before_execution() == f"another {place[1]}"


def test_a_thread_that_outlives_its_run_is_found(watch: tamper_check.TamperCheck) -> None:
    watch.before_execution()
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait, name="lurker")
    thread.start()
    try:
        assert watch.after_execution() == "a thread 'lurker'"
    finally:
        ended.set()
        thread.join()


def test_a_process_that_outlives_its_run_is_found(watch: tamper_check.TamperCheck) -> None:
    watch.before_execution()
    process = subprocess.Popen(["sleep", "100"])
    try:
        assert watch.after_execution() == f"a process {process.pid}"
    finally:
        process.kill()
        process.wait()


DETACH = """
import os, subprocess, sys
if os.fork() == 0:
    os.setsid()
    sleeping = subprocess.Popen(["sleep", "100"], stdout=subprocess.DEVNULL)
    print(sleeping.pid, flush=True)
    os._exit(0)
os.wait()
"""


def test_a_process_that_detaches_itself_is_found(watch: tamper_check.TamperCheck) -> None:
    tamper_check.adopt_orphans()
    watch.before_execution()
    detached = int(subprocess.run([sys.executable, "-c", DETACH], stdout=subprocess.PIPE, check=True).stdout)
    try:
        assert watch.after_execution() == f"a process {detached}"
    finally:
        os.kill(detached, signal.SIGKILL)
        os.waitpid(detached, 0)


@pytest.mark.parametrize("what", ["a .pth file", "an IPython start-up file", "a module", "a package"])
def test_start_up_files_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    folders = {name: tmp_path / name for name in ("data", "site", "ipython", "work")}
    for folder in folders.values():
        folder.mkdir()
    monkeypatch.setattr(site, "getusersitepackages", lambda: str(folders["site"]))
    monkeypatch.setenv("IPYTHONDIR", str(folders["ipython"]))
    monkeypatch.chdir(folders["work"])
    watch = tamper_check.TamperCheck(folders["data"])
    file = {
        "a .pth file": folders["site"] / "x.pth",
        "an IPython start-up file": folders["ipython"] / "profile_default" / "startup" / "00-x.py",
        "a module": folders["work"] / "statistics.py",
        "a package": folders["work"] / "statistics" / "__init__.py",
    }[what]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("print('foreign code')")
    (folders["work"] / "notes.txt").write_text("no code")
    found = file.parent if file.name == "__init__.py" else file
    assert watch.after_execution() == f"a start-up file '{found}'"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    jobs._tamper_checks.pop(tmp_path, None)


def test_no_job_runs_where_somebody_else_has_been(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = job(source="in-1.bin", report="report-1.json")
    document["renditions"][0]["file"] = "out-1-0.png"

    def ran() -> dict[str, Any]:
        (place / "in-1.bin").write_bytes(encoded(gradient(20, 10)))
        jobs.main(protocol.encode_jobs(document), str(place), KEY)
        ref = protocol.parse_report_line(capsys.readouterr().out, KEY)
        assert ref is not None
        (report,) = json.loads(ref["body"] or b"")
        return report

    assert (ran()["failure"], ran()["tainted"]) == (None, "")
    left(place / "left.txt")
    report = ran()
    assert report["failure"]["kind"] == "session_tainted"
    assert "left.txt" in report["failure"]["message"]
    assert report["renditions"] == []
