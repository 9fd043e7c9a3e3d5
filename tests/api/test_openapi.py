"""The description of the API is about the API that there is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import azure.functions as func

from pipeline.api import http_trigger, openapi, routes
from pipeline.api.links import Links
from tests.memory import Memory

ROOT = Path(__file__).parents[2]
_INDEX = """
import json, function_app
found = [json.loads(binding) for each in function_app.app.get_functions() for binding in each.get_raw_bindings()]
print(json.dumps([one for one in found if one["type"] == "httpTrigger"]))
"""


def served() -> list[dict[str, Any]]:
    """The HTTP triggers of the function app, as the platform indexes them."""
    environ = {"PATH": "/usr/bin", "PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1", "IMAGES": "x"}
    told = subprocess.run(
        [sys.executable, "-c", _INDEX], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    found: list[dict[str, Any]] = json.loads(told.stdout)
    return found


def described() -> dict[str, Any]:
    return openapi.document(routes.ROUTES, Links()).root


def test_every_function_is_described_and_everything_described_is_a_function() -> None:
    triggers = served()
    functions = {(method, f"/{one['route']}") for one in triggers for method in one.get("methods", [])}
    operations = {(method.upper(), path) for path, item in described()["paths"].items() for method in item}
    pages = {(method, path) for method, path in functions if path.startswith("/console")}
    heads = {(method, path) for method, path in functions if method == "HEAD"}
    assert heads == {("HEAD", path) for method, path in operations if method == "GET"}, "what can be got has a head"
    assert functions - pages - heads == operations
    left = {one["route"] for one in triggers if not one.get("methods")}
    assert left == {"{*path}", "console/{*page}"}, "what is left is answered too"
    anonymous = [one["route"] for one in triggers if one["authLevel"].lower() != "function"]
    assert anonymous in ([], ["console/{*page}"]), "the console looks for itself who asks"


def test_every_reference_in_the_description_leads_somewhere() -> None:
    document = described()
    text = json.dumps(document)
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(document["components"]["schemas"])
    assert "$defs" not in text


def test_every_operation_has_a_name_of_its_own_and_says_what_refusals_look_like() -> None:
    operations = [each for item in described()["paths"].values() for each in item.values()]
    assert len({each["operationId"] for each in operations}) == len(operations)
    for each in operations:
        assert each["summary"].endswith(".")
        for status, answer in each["responses"].items():
            if status.startswith("4") and status != "401":
                assert list(answer["content"]) == ["application/problem+json"]


async def test_the_description_is_served_with_the_address_that_the_caller_used(memory: Memory) -> None:
    (route,) = (each for each in routes.ROUTES if each.name == "show_openapi")
    request = func.HttpRequest("GET", "https://x/pictures/openapi.json", body=b"")
    answer = await http_trigger.handle(route, lambda: memory.services, request)
    assert json.loads(answer.get_body())["servers"] == [{"url": "/pictures"}]


async def test_an_address_that_there_is_not_and_a_method_that_is_not_taken_are_told_apart() -> None:
    found = {}
    for method, path in [("GET", "jbos"), ("PUT", "jobs"), ("POST", "jobs/web.x"), ("GET", "")]:
        request = func.HttpRequest(method, f"https://x/api/{path}", route_params={"path": path}, body=b"")
        answer = await http_trigger.handle_unknown(request)
        assert answer.mimetype == "application/problem+json"
        found[method, path] = (answer.status_code, answer.headers.get("Allow"))
    assert found == {
        ("GET", "jbos"): (404, None),
        ("PUT", "jobs"): (405, "GET, HEAD, POST"),
        ("POST", "jobs/web.x"): (405, "DELETE, GET, HEAD"),
        ("GET", ""): (404, None),
    }
