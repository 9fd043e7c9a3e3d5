"""The environment file of a stack: it belongs to one running stack."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from devstack import subprocesses
from devstack.stack import environment_file

OTHER_STACK = """
import signal
import sys
from pathlib import Path
from devstack.stack import environment_file
with environment_file({"A": "theirs"}, Path(sys.argv[1])):
    print("written", flush=True)
    signal.pause()
"""


async def test_a_second_stack_writes_a_file_with_another_name(tmp_path: Path) -> None:
    path = tmp_path / "env"
    async with subprocesses.running("first", [sys.executable, "-c", OTHER_STACK, path]) as first:
        await first.wait_for_line("written", 60)
        with environment_file({"A": "our own"}, path) as file:
            assert file != path
            assert "A='our own'" in file.read_text()
            assert "A=theirs" in path.read_text()
        assert not file.exists()
        assert "A=theirs" in path.read_text()


def test_the_file_of_a_killed_stack_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("A=old\n")
    with environment_file({"A": "new"}, path) as file:
        assert file == path
        assert "A=new" in path.read_text()
        assert str(os.getpid()) in path.read_text()
    assert list(tmp_path.iterdir()) == []
