"""Layout of the function hosts as on Azure: hosts of its own for each group of functions."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from devstack.errors import DevstackError
from devstack.layout import check_scale, groups_of, host_group
from tests.up.test_up import up, wait_until_gone


def listed(name: str, trigger_type: str) -> dict[str, object]:
    """Return a function as `/admin/functions` lists it."""
    return {"name": name, "config": {"bindings": [{"type": trigger_type}]}}


def test_groups_begin_with_http() -> None:
    functions = [listed("b", "blobTrigger"), listed("a", "queueTrigger"), listed("z", "httpTrigger")]
    assert groups_of([*functions, listed("y", "httpTrigger")]) == ["http", "a", "blob"]


def test_hosts_of_a_group_can_replace_each_other() -> None:
    assert host_group("host-run_waiting-2") == host_group("host-run_waiting-3") != host_group("host-http-1")
    assert host_group("host-1") == host_group("host-2")


def test_a_scale_of_an_unknown_group_is_refused() -> None:
    check_scale({"http": 2}, ["http", "blob"])
    with pytest.raises(DevstackError, match="run: there is no such group; the groups are http, blob"):
        check_scale({"run": 2}, ["http", "blob"])


async def test_each_group_of_functions_has_its_own_hosts(tmp_path: Path) -> None:
    async with up(tmp_path, "--layout", "azure", "--scale", "job_waiting=2", "--max-sessions", "2") as running:
        groups = sorted(filter(None, map(group, running.descendants)))
        assert groups.count("job_waiting") == 2
        assert {"http", "blob", "run_waiting", "scheduled_run"} < set(groups)
        assert len(groups) == len(set(groups)) + 1
        assert len(await running.renditions_of("sea.jpg")) == 3
        await running.process.stop(grace=40)
        assert running.process.status == 0
        await wait_until_gone(running.descendants)


def group(process: psutil.Process) -> str:
    """Return the group of functions that a host runs; empty for other processes."""
    words = process.cmdline()
    return words[words.index("--group") + 1] if "--group" in words and "pdeathsig.py" not in " ".join(words) else ""
