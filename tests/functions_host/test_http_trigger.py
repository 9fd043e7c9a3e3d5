"""HTTP triggers: routes, methods, what a function sees and what a caller gets."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import azure.functions as func
import httpx
import pytest

from devstack.host.functions import Function
from devstack.host.invoke import Invoker
from devstack.host.routes import route
from devstack.host.web import Web
from devstack.host.work import Work
from tests.host.conftest import APPS, Host, Stage

shared = pytest.mark.asyncio(loop_scope="module")


@shared
async def test_http_functions_are_served_on_their_routes_as_the_platform_does(served: tuple[Stage, Host]) -> None:
    _, host = served
    async with httpx.AsyncClient(base_url=host.url) as client:
        answer = await client.get("/api/hello/J%C3%BCrgen%2Fx?a=1&b=2&a=3", headers={"X-Test": "seen"})
        assert (answer.status_code, answer.headers["content-type"], answer.headers["x-answer"]) == (
            201,
            "application/json",
            "yes",
        )
        told = answer.json()
        assert (told["name"], told["params"], told["header"]) == ("Jürgen/x", {"a": "1,3", "b": "2"}, "seen")
        assert told["url"].startswith(f"{host.url}/api/hello/")

        answer = await client.post("/API/Hello", data={"size": "7"}, files={"photo": ("a.jpg", b"content")})
        assert (answer.json()["form"], answer.json()["files"]) == ({"size": "7"}, {"photo": "content"})

        assert (await client.get("/api/boom?sleep=0.01")).text == "slept"
        assert (await client.get("/")).status_code == 200
        # The platform does not answer 405: a route that does not take the method is no route.
        for request in (client.delete("/api/hello"), client.get("/hello"), client.get("/api/hello/a/b")):
            answer = await request
            assert (answer.status_code, answer.content) == (404, b"")


@shared
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
async def test_pages_of_other_sites_reach_nothing(
    served: tuple[Stage, Host], headers: dict[str, str], status: int
) -> None:
    _, host = served
    async with httpx.AsyncClient(base_url=host.url) as client:
        for answer in (
            await client.get("/api/hello", headers=headers),
            await client.post("/api/hello", headers=headers),
        ):
            assert answer.status_code == status
            assert (b"this machine alone" in answer.content) == (status == 403)


@shared
async def test_a_link_to_this_machine_can_be_followed_but_no_form_sent(served: tuple[Stage, Host]) -> None:
    _, host = served
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    async with httpx.AsyncClient(base_url=host.url, headers=headers) as client:
        assert (await client.get("/api/hello")).status_code == 201
        assert (await client.post("/api/hello")).status_code == 403
        framed = await client.get("/api/hello", headers={"Sec-Fetch-Dest": "iframe"})
        assert framed.status_code == 403


@shared
async def test_what_goes_wrong_in_a_function_is_logged_and_not_told_to_the_caller(served: tuple[Stage, Host]) -> None:
    _, host = served
    async with httpx.AsyncClient(base_url=host.url) as client:
        for path in ("/api/boom", "/api/wrong"):
            answer = await client.get(path)
            assert (answer.status_code, answer.content) == (500, b"")
        assert any("RuntimeError: the secret reason" in line for line in host.log)
        assert any("must return str or HttpResponse, not dict" in line for line in host.log)


async def test_the_routes_prefix_and_the_time_limit_are_read_from_host_json(stage: Stage, tmp_path: Path) -> None:
    shutil.copy(APPS / "all/function_app.py", tmp_path)
    host_json = {"functionTimeout": "00:00:01", "extensions": {"http": {"routePrefix": "v1/app"}}}
    (tmp_path / "host.json").write_text(json.dumps(host_json))
    async with stage.host(app=tmp_path) as host, httpx.AsyncClient(base_url=host.url, timeout=20) as client:
        assert (await client.get("/v1/app/hello")).status_code == 201
        assert (await client.get("/api/hello")).status_code == 404
        assert (await client.get("/v1/app/boom?sleep=1.5")).status_code == 500
        assert any("longer than functionTimeout" in line for line in host.log)


async def test_a_request_that_runs_is_answered_before_the_host_stops(stage: Stage) -> None:
    async with stage.host() as host, httpx.AsyncClient(base_url=host.url, timeout=20) as client:
        answer = asyncio.create_task(client.get("/api/boom?sleep=1.5&tell=begun"))
        await stage.hear(1)
        await host.process.stop(grace=10)
        assert (await answer).text == "slept"


async def test_a_function_that_cannot_be_stopped_does_not_hold_up_the_host(stage: Stage) -> None:
    async with stage.host("--grace", "0.2") as host, httpx.AsyncClient(base_url=host.url, timeout=20) as client:
        request = asyncio.create_task(client.get("/api/boom?sleep=60&tell=begun"))
        await stage.hear(1)
        await host.process.stop(grace=15)
        assert host.process.status == 0
        assert isinstance((await asyncio.gather(request, return_exceptions=True))[0], httpx.Response | httpx.HTTPError)


async def test_an_answer_that_takes_too_long_is_cut_and_the_function_goes_on() -> None:
    went_on = asyncio.Event()

    async def slow(req: func.HttpRequest) -> str:
        await asyncio.sleep(0.2)
        went_on.set()
        return "too late"

    function = Function("slow", slow, {"type": "httpTrigger", "name": "req"}, func.HttpRequest, wants_context=False)
    web = Web([route(function, "api")], Invoker(60), Work(), patience=0.05)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(web), base_url="http://localhost") as client:
        assert (await client.get("/api/slow")).status_code == 504
    await asyncio.wait_for(went_on.wait(), 5)
