"""Layouts of the function hosts: all functions in each host, or each group of functions in hosts of its own."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from devstack.errors import DevstackError
from functions_host.groups import HTTP_GROUP, group_of

HOST_PREFIX = "host-"


class Layout(StrEnum):
    """Layout of the function hosts."""

    ALL = "all"
    """Each host runs all functions."""
    AZURE = "azure"
    """Each group of functions that scales by itself on Azure has hosts of its own."""


def groups_of(functions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the groups of an app's functions (the response of `/admin/functions`), HTTP first."""
    groups = {group_of(each["name"], each["config"]["bindings"][0]["type"]) for each in functions}
    return sorted(groups, key=lambda group: (group != HTTP_GROUP, group))


def host_group(host: str) -> str:
    """Return the part of a host's name that all hosts with the same functions share."""
    return host.rpartition("-")[0]


def check_scale(scale: Mapping[str, int], groups: Sequence[str]) -> None:
    """Raise DevstackError if `scale` names a group that the app does not have."""
    unknown = sorted(set(scale) - set(groups))
    if unknown:
        raise DevstackError(f"--scale {unknown[0]}: there is no such group; the groups are {', '.join(groups)}")
