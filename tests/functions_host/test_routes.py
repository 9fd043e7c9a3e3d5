"""Route templates."""

from __future__ import annotations

import pytest

from functions_host.errors import HostError
from functions_host.functions import Function
from functions_host.http_triggers import Route, compile_route

GUID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def route(template: str) -> Route:
    """Compile a template below the prefix `api`."""
    trigger = {"type": "httpTrigger", "name": "req", "route": template}
    return compile_route(Function("f", print, trigger, None, takes_context=False), "api")


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        ("jobs", "/api/jobs", {}),
        ("jobs", "/API/Jobs/", {}),
        ("jobs", "/api/jobs/1", None),
        ("jobs/{id:int}", "/api/jobs/12", {"id": "12"}),
        ("jobs/{id:int}", "/api/jobs/x", None),
        ("jobs/{id?}", "/api/jobs", {}),
        ("jobs/{id?}", "/api/jobs/a%20b", {"id": "a b"}),
        ("files/{*path}", "/api/files/a/b.jpg", {"path": "a/b.jpg"}),
        ("files/{*path}", "/api/files", {}),
        ("files/{name}.{format}", "/api/files/a.b.png", {"name": "a.b", "format": "png"}),
        ("runs/{id:guid}", f"/api/runs/{GUID}", {"id": GUID}),
    ],
)
def test_a_template_matches_a_path(template: str, path: str, expected: dict[str, str] | None) -> None:
    assert route(template).match(path) == expected


def test_the_more_specific_route_has_precedence() -> None:
    templates = ["{*all}", "{name}", "{id:int}", "jobs"]
    assert sorted(templates, key=lambda template: route(template).precedence) == templates[::-1]


def test_an_unsupported_constraint_is_rejected() -> None:
    with pytest.raises(HostError, match="has an unsupported part"):
        route("jobs/{id:range(1,2)}")
