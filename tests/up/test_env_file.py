"""The file with the settings of a stack: one stack's, while it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from devstack import child
from devstack.stack import environment_file

KEEP = """
import signal
import sys
from pathlib import Path
from devstack.stack import environment_file
with environment_file({"A": "theirs"}, Path(sys.argv[1])):
    print("kept", flush=True)
    signal.pause()
"""


async def test_a_second_stack_has_a_file_of_its_own_and_leaves_the_first_ones_alone(tmp_path: Path) -> None:
    path = tmp_path / "env"
    async with child.running("first", [sys.executable, "-c", KEEP, path]) as first:
        await first.line("kept", 60)
        with environment_file({"A": "our own"}, path) as ours:
            assert ours != path
            assert "A='our own'" in ours.read_text()
            assert "A=theirs" in path.read_text()
        assert not ours.exists()
        assert "A=theirs" in path.read_text()


def test_a_file_that_a_dead_stack_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("A=old\n")
    with environment_file({"A": "new"}, path) as ours:
        assert ours == path
        assert "A=new" in path.read_text()
        assert str(os.getpid()) in path.read_text()
    assert list(tmp_path.iterdir()) == []
