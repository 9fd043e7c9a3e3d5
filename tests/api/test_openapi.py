"""The OpenAPI document describes exactly the functions of the app."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import azure.functions as func

from pipeline.api import openapi, routes
from pipeline.api.contracts import CONTRACTS
from pipeline.api.http import Links
from tests.memory import Memory

ROOT = Path(__file__).parents[2]
_INDEX = """
import json, function_app
bindings = [json.loads(binding) for each in function_app.app.get_functions() for binding in each.get_raw_bindings()]
print(json.dumps([one for one in bindings if one["type"] == "httpTrigger"]))
"""


def served() -> list[dict[str, Any]]:
    """Return the HTTP triggers of the function app, as the platform indexes them."""
    environ = {"PATH": "/usr/bin", "PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1", "IMAGES": "x"}
    result = subprocess.run(
        [sys.executable, "-c", _INDEX], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    triggers: list[dict[str, Any]] = json.loads(result.stdout)
    return triggers


def described() -> dict[str, Any]:
    return openapi.document(routes.ROUTES, Links()).root


def test_functions_and_documented_operations_are_the_same() -> None:
    triggers = served()
    functions = {(method, f"/{one['route']}") for one in triggers for method in one.get("methods", [])}
    operations = {(method.upper(), path) for path, item in described()["paths"].items() for method in item}
    pages = {(method, path) for method, path in functions if path.startswith("/console")}
    heads = {(method, path) for method, path in functions if method == "HEAD"}
    assert heads == {("HEAD", path) for method, path in operations if method == "GET"}, (
        "every GET operation supports HEAD"
    )
    assert functions - pages - heads == operations
    left = {one["route"] for one in triggers if not one.get("methods")}
    assert left == {"{*path}", "console/{*page}"}, "the catch-all routes allow all methods"
    anonymous = [one["route"] for one in triggers if one["authLevel"].lower() != "function"]
    assert anonymous in ([], ["console/{*page}"]), "the console authenticates by itself"


def test_each_route_has_a_contract() -> None:
    assert [route.name for route in routes.ROUTES] == list(CONTRACTS)


def test_every_schema_reference_resolves() -> None:
    document = described()
    text = json.dumps(document)
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(document["components"]["schemas"])
    assert "$defs" not in text


def test_operations_have_unique_ids_and_problem_responses() -> None:
    operations = [each for item in described()["paths"].values() for each in item.values()]
    assert len({each["operationId"] for each in operations}) == len(operations)
    for each in operations:
        assert each["summary"].endswith(".")
        for status, response in each["responses"].items():
            if status.startswith("4") and status != "401":
                assert list(response["content"]) == ["application/problem+json"]


async def test_openapi_uses_the_path_prefix_of_the_request(memory: Memory) -> None:
    (route,) = (each for each in routes.ROUTES if each.name == "show_openapi")
    request = func.HttpRequest("GET", "https://x/pictures/openapi.json", body=b"")
    response = await routes.handle(route, lambda: memory.services, request)
    assert json.loads(response.get_body())["servers"] == [{"url": "/pictures"}]


async def test_unknown_urls_are_404_and_other_methods_405() -> None:
    responses = {}
    for method, path in [("GET", "jbos"), ("PUT", "jobs"), ("POST", "jobs/web.x"), ("GET", "")]:
        request = func.HttpRequest(method, f"https://x/api/{path}", route_params={"path": path}, body=b"")
        response = await routes.handle_unknown(request)
        assert response.mimetype == "application/problem+json"
        responses[method, path] = (response.status_code, response.headers.get("Allow"))
    assert responses == {
        ("GET", "jbos"): (404, None),
        ("PUT", "jobs"): (405, "GET, HEAD, POST"),
        ("POST", "jobs/web.x"): (405, "DELETE, GET, HEAD"),
        ("GET", ""): (404, None),
    }
