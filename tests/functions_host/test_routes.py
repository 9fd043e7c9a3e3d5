"""Route templates."""

from __future__ import annotations

import pytest

from devstack.errors import HostError
from devstack.host.functions import Function
from devstack.host.routes import Route, route

GUID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def _route(template: str) -> Route:
    return route(Function("f", print, {"type": "httpTrigger", "name": "req", "route": template}, None, False), "api")


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
    assert _route(template).match(path) == expected


def test_the_more_particular_route_is_tried_first() -> None:
    templates = ["{*all}", "{name}", "{id:int}", "jobs"]
    assert sorted(templates, key=lambda template: _route(template).rank) == templates[::-1]


def test_an_unknown_constraint_is_refused() -> None:
    with pytest.raises(HostError, match="is not known here"):
        _route("jobs/{id:range(1,2)}")
