"""The command line as a process of its own: entry point, completion, imports, interruption, a whole folder."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import __version__
from tests.images import image_bytes

ROOT = Path(__file__).parents[2]


def environment(**environ: str) -> dict[str, str]:
    """Return the environment without the settings of this process."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PIPELINE_", "IMAGES"))}
    return {**inherited, **environ}


def python(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, *arguments]
    return subprocess.run(
        argv, cwd=ROOT, env=environment(**environ), capture_output=True, text=True, timeout=110, check=False
    )


def test_version_is_printed_without_the_cli_extra() -> None:
    code = "import sys; sys.modules['typer'] = None; sys.argv[1:] = {}; import pipeline.__main__ as entry; entry.main()"
    for arguments, status, text in (["--version"], 0, f"image-pipeline {__version__}"), (["jobs"], 1, "[cli]"):
        result = python("-c", code.format(arguments))
        assert (result.returncode, text in result.stdout + result.stderr) == (status, True), result.stderr


@pytest.mark.parametrize(
    ("shell", "variables"),
    [
        ("bash", {"COMP_WORDS": "{}", "COMP_CWORD": "2"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "{}"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "{}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_shells_complete_commands_and_options(shell: str, variables: dict[str, str]) -> None:
    for typed, expected in (("image-pipeline recipes ", "explain"), ("image-pipeline jobs --", "--cursor")):
        words = {name: value.format(typed) for name, value in variables.items()}
        result = python("-m", "pipeline", _IMAGE_PIPELINE_COMPLETE=f"complete_{shell}", **words)
        assert expected in result.stdout, result.stderr


@pytest.mark.parametrize("name", ["recipes", "transforms", "settings"])
def test_commands_without_services_load_no_azure_clients(name: str) -> None:
    code = f"import sys, pipeline.cli; pipeline.cli.build({name!r}); print([m for m in sys.modules if 'azure' in m])"
    assert python("-c", code).stdout == "[]\n"


def test_ctrl_c_exits_with_130_and_without_a_traceback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        connection = f"AccountName=a;AccountKey=a2V5;BlobEndpoint={url}/a;QueueEndpoint={url}/a;TableEndpoint={url}/a"
        environ = environment(PIPELINE_POOL_ENDPOINT=url, IMAGES=f"DefaultEndpointsProtocol=http;{connection}")
        # A shell starts background jobs with SIGINT ignored, and processes inherit that.
        argv = ["env", "--default-signal=INT", sys.executable, "-m", "pipeline", "init"]
        process = subprocess.Popen(argv, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True)
        try:
            server.settimeout(60)
            client, _ = server.accept()  # the command now waits for a response
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
            client.close()
        finally:
            process.kill()
            process.communicate()
    assert (process.returncode, "Traceback" in errors) == (130, False), errors


def test_a_folder_is_processed_by_a_temporary_stack(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(image_bytes(500, 500))
    out = str(tmp_path / "out")
    result = python("-m", "pipeline", "run", str(photos), "--recipe", "tutorial", "--out", out, "--json")
    assert result.returncode == 0, result.stderr
    (job,) = json.loads(result.stdout)
    assert (job["complete"], Path(job["files"]["cropped"]).exists()) == (True, True)
