"""HTTP triggers: routes, methods, requests, responses and protection from other sites."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import azure.functions as func
import httpx
import pytest

from functions_host.functions import Function, InFlight, Invoker
from functions_host.http_triggers import HttpTriggers, compile_route
from tests.functions_host.conftest import APPS, Host, HostEnvironment

in_module_loop = pytest.mark.asyncio(loop_scope="module")
SharedHost = tuple[HostEnvironment, Host]


@in_module_loop
async def test_functions_are_served_on_their_routes_as_on_azure(shared_host: SharedHost) -> None:
    _, host = shared_host
    async with httpx.AsyncClient(base_url=host.url) as client:
        response = await client.get("/api/hello/J%C3%BCrgen%2Fx?a=1&b=2&a=3&c=", headers={"X-Test": "seen"})
        assert (response.status_code, response.headers["x-response"]) == (201, "yes")
        assert response.headers["content-type"] == "application/json"
        request = response.json()
        assert (request["name"], request["params"], request["header"]) == ("Jürgen%2Fx", {"a": "1,3", "b": "2"}, "seen")
        assert request["url"].startswith(f"{host.url}/api/hello/")

        response = await client.post("/API/Hello", data={"size": "7"}, files={"photo": ("a.jpg", b"content")})
        assert (response.json()["form"], response.json()["files"]) == ({"size": "7"}, {"photo": "content"})

        assert (await client.get("/api/boom?sleep=0.01")).text == "slept"
        assert (await client.get("/")).status_code == 200
        # Azure responds 404 and not 405: a route does not match if it does not allow the method.
        for sending in (client.delete("/api/hello"), client.get("/hello"), client.get("/api/hello/a/b")):
            response = await sending
            assert (response.status_code, response.content) == (404, b"")


@in_module_loop
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:7071"}, 201),
        ({"Host": "[::1]:7071"}, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Sec-Fetch-Site": "none"}, 201),
        ({"Origin": "http://127.0.0.1:7071"}, 201),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example:7071"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 403),
    ],
)
async def test_pages_of_other_sites_cannot_call_functions(
    shared_host: SharedHost, headers: dict[str, str], status: int
) -> None:
    _, host = shared_host
    async with httpx.AsyncClient(base_url=host.url) as client:
        for method in ("GET", "POST"):
            response = await client.request(method, "/api/hello", headers=headers)
            assert response.status_code == status
            assert (b"only this machine" in response.content) == (status == 403)


@in_module_loop
async def test_other_sites_may_link_to_the_host_but_not_post(shared_host: SharedHost) -> None:
    _, host = shared_host
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    async with httpx.AsyncClient(base_url=host.url, headers=headers) as client:
        assert (await client.get("/api/hello")).status_code == 201
        assert (await client.post("/api/hello")).status_code == 403
        in_frame = await client.get("/api/hello", headers={"Sec-Fetch-Dest": "iframe"})
        assert in_frame.status_code == 403


@in_module_loop
async def test_an_error_is_logged_and_not_sent_to_the_client(shared_host: SharedHost) -> None:
    _, host = shared_host
    async with httpx.AsyncClient(base_url=host.url) as client:
        for path in ("/api/boom", "/api/wrong"):
            response = await client.get(path)
            assert (response.status_code, response.content) == (500, b"")
        assert any("RuntimeError: the secret reason" in line for line in host.log)
        assert any("must return str or HttpResponse, not dict" in line for line in host.log)


async def test_host_json_sets_route_prefix_and_timeout(environment: HostEnvironment, tmp_path: Path) -> None:
    shutil.copy(APPS / "every_trigger" / "function_app.py", tmp_path)
    host_json = {"functionTimeout": "00:00:00.5", "extensions": {"http": {"routePrefix": "v1/app"}}}
    (tmp_path / "host.json").write_text(json.dumps(host_json))
    async with environment.host(app=tmp_path) as host, httpx.AsyncClient(base_url=host.url, timeout=20) as client:
        assert (await client.get("/v1/app/hello")).status_code == 201
        assert (await client.get("/api/hello")).status_code == 404
        assert (await client.get("/v1/app/boom?sleep=1")).status_code == 500
        assert any("longer than functionTimeout" in line for line in host.log)


async def test_shutdown_waits_for_open_requests(environment: HostEnvironment) -> None:
    async with environment.host() as host, httpx.AsyncClient(base_url=host.url, timeout=20) as client:
        request = asyncio.create_task(client.get("/api/boom?sleep=1.5&report=started"))
        await environment.reports(1)
        await host.process.stop(grace=10)
        assert (await request).text == "slept"


async def test_a_function_in_a_thread_cannot_block_the_shutdown(environment: HostEnvironment) -> None:
    async with (
        environment.host("--grace", "0.2") as host,
        httpx.AsyncClient(base_url=host.url, timeout=20) as client,
    ):
        request = asyncio.create_task(client.get("/api/boom?sleep=60&report=started"))
        await environment.reports(1)
        await host.process.stop(grace=15)
        assert host.process.status == 0
        assert isinstance((await asyncio.gather(request, return_exceptions=True))[0], httpx.Response | httpx.HTTPError)


def echo(monkeypatch: pytest.MonkeyPatch, limit: str = "") -> httpx.AsyncClient:
    """Return a client of a function that returns the body of its request."""
    monkeypatch.setenv("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", limit)

    async def echo(req: func.HttpRequest) -> func.HttpResponse:
        return func.HttpResponse(req.get_body())

    function = Function("echo", echo, {"type": "httpTrigger", "name": "req"}, func.HttpRequest, takes_context=False)
    app = HttpTriggers([compile_route(function, "api")], Invoker(60), InFlight())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


async def test_a_chunked_body_does_not_reach_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"image"

    async with echo(monkeypatch) as client:
        assert (await client.post("/api/echo", content=b"image")).content == b"image"
        assert (await client.post("/api/echo", content=chunks())).content == b""


async def test_a_body_above_the_limit_is_413_without_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    async with echo(monkeypatch, "4") as client:
        assert (await client.post("/api/echo", content=b"1234")).status_code == 200
        response = await client.post("/api/echo", content=b"12345")
        assert (response.status_code, response.content) == (413, b"")


async def test_after_the_response_timeout_the_function_continues() -> None:
    timed_out, finished = asyncio.Event(), asyncio.Event()

    async def slow(req: func.HttpRequest) -> str:
        await timed_out.wait()
        finished.set()
        return "too late"

    function = Function("slow", slow, {"type": "httpTrigger", "name": "req"}, func.HttpRequest, takes_context=False)
    app = HttpTriggers([compile_route(function, "api")], Invoker(60), InFlight(), response_timeout=0.05)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        assert (await client.get("/api/slow")).status_code == 504
    timed_out.set()
    await asyncio.wait_for(finished.wait(), 5)
