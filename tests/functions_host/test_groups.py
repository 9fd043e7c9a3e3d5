"""Groups of functions that share instances."""

from __future__ import annotations

import pytest

from functions_host.errors import HostError
from functions_host.functions import Function
from functions_host.groups import functions_of_group


def function(name: str, trigger_type: str) -> Function:
    """Create a function without code."""
    return Function(name, lambda: None, {"type": trigger_type, "name": "it"}, None, takes_context=False)


FUNCTIONS = [
    function("show", "httpTrigger"),
    function("uploaded", "blobTrigger"),
    function("submit", "httpTrigger"),
    function("waiting", "queueTrigger"),
    function("nightly", "timerTrigger"),
]


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("", ["show", "uploaded", "submit", "waiting", "nightly"]),
        ("http", ["show", "submit"]),
        ("blob", ["uploaded"]),
        ("waiting", ["waiting"]),
        ("nightly", ["nightly"]),
    ],
)
def test_a_group_has_its_functions_only(group: str, names: list[str]) -> None:
    assert [each.name for each in functions_of_group(FUNCTIONS, group)] == names


@pytest.mark.parametrize("group", ["show", "queue"])
def test_an_unknown_group_is_refused_with_the_names_of_all(group: str) -> None:
    with pytest.raises(HostError, match="the groups are blob, http, nightly, waiting"):
        functions_of_group(FUNCTIONS, group)
