"""The checks of `doctor` for the console's access, pauses, dead letters and event subscription, without Azure."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.credentials import AccessToken

from pipeline.cli import doctor, event_subscription
from pipeline.console.dispatch import console_of
from pipeline.settings import PLATFORM_AUTH_VARIABLE
from tests.console.client import http_request, text_of
from tests.memory import open_in_memory


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `doctor` know the host name of an app that is this process."""
    monkeypatch.setenv(event_subscription.APP_HOST_VARIABLE, "app.example")


@pytest.mark.parametrize(("authenticates", "status"), [("", "error"), ("True", "ok")])
@pytest.mark.usefixtures("deployed")
async def test_the_app_is_asked_for_its_authentication(
    authenticates: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLATFORM_AUTH_VARIABLE, authenticates)
    async with open_in_memory(console_access="app_service") as memory:

        async def respond(request: httpx.Request) -> httpx.Response:
            assert str(request.url) == "https://app.example/api/console"
            page = await console_of(memory.services).handle(http_request())
            return httpx.Response(page.status_code, text=text_of(page))

        client = partial(httpx.AsyncClient, transport=httpx.MockTransport(respond))
        monkeypatch.setattr(doctor.httpx, "AsyncClient", client)
        (finding,) = await doctor._console(memory.services)
    assert finding.status == status, finding.detail


async def test_other_access_needs_no_question() -> None:
    async with open_in_memory(console_access="keys") as memory:
        (finding,) = await doctor._console(memory.services)
    assert (finding.status, finding.detail) == ("ok", "access: keys")


async def test_an_unknown_host_name_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(event_subscription.APP_HOST_VARIABLE, raising=False)
    async with open_in_memory(console_access="app_service") as memory:
        (finding,) = await doctor._console(memory.services)
    assert (finding.status, event_subscription.APP_HOST_VARIABLE in finding.detail) == ("warning", True)


async def test_pauses_are_warnings_with_the_command_that_ends_them() -> None:
    async with open_in_memory() as memory:
        assert (await doctor._pauses(memory.services))[0].status == "ok"
        await memory.services.admission.pauses.pause(["uploads", "runs"])
        (finding,) = await doctor._pauses(memory.services)
    assert (finding.status, "image-pipeline resume uploads runs" in finding.detail) == ("warning", True)


async def test_dead_letters_that_no_app_takes_are_warnings() -> None:
    async with open_in_memory() as memory:
        assert {finding.status for finding in await doctor._queues(memory.services)} == {"ok"}
        settings, queues = memory.services.settings, memory.services.account
        names = {f"{settings.job_queue}-poison", f"{settings.run_queue}-poison", "webjobs-blobtrigger-poison"}
        for name in names:
            await queues.queue(name).create_queue()
            await queues.queue(name).send_message("{}")
        findings = await doctor._queues(memory.services)
    assert {each.check.removeprefix("messages in ") for each in findings if each.status == "warning"} == names


PLACE = {"AZURE_SUBSCRIPTION_ID": "1-2", "AZURE_RESOURCE_GROUP": "rg-photos-images", "TOPIC_NAME": "topic"}
ADDRESS = "https://app.example/runtime/webhooks/blobs?functionName=Host.Functions.image_uploaded&code=s3cret"


class SignedIn:
    """An identity that returns a token for Azure's management API."""

    async def get_token(self, scope: str) -> AccessToken:
        assert scope == "https://management.azure.com/.default"
        return AccessToken("token", 0)


async def subscription_verdict(
    monkeypatch: pytest.MonkeyPatch, response: httpx.Response, environ: dict[str, str] | None = None
) -> event_subscription.Verdict:
    """Check the subscription while Azure answers with a response."""

    async def respond(request: httpx.Request) -> httpx.Response:
        assert request.method == "POST"
        assert request.url.path.endswith("/rg-photos-images/providers/Microsoft.EventGrid/systemTopics/topic/"
                                         "eventSubscriptions/image-uploaded/getFullUrl")  # fmt: skip
        assert request.headers["Authorization"] == "Bearer token"
        return response

    client = partial(httpx.AsyncClient, transport=httpx.MockTransport(respond))
    monkeypatch.setattr(event_subscription.httpx, "AsyncClient", client)
    identity: Any = SignedIn()
    return await event_subscription.check_address(identity, PLACE if environ is None else environ, "image-uploaded")


@pytest.mark.parametrize(
    ("address", "status", "named"),
    [
        (ADDRESS, "ok", "image_uploaded"),
        (ADDRESS.replace("image_uploaded", "image_upload"), "error", "functionName=Host.Functions.image_uploaded"),
        (ADDRESS.replace("functionName=Host.Functions.", "x="), "error", "functionName=Host.Functions.image_uploaded"),
        (ADDRESS.replace("app.example", "old.example"), "error", "old.example"),
        (None, "error", "scripts/deploy"),
    ],
    ids=["right", "typing error", "no name", "another app", "no address"],
)
async def test_a_subscription_for_another_function_is_an_error(
    monkeypatch: pytest.MonkeyPatch, address: str | None, status: str, named: str
) -> None:
    """The app answers such events with 202 and drops them."""
    response = httpx.Response(200, json={"endpointUrl": address})
    environ = {**PLACE, event_subscription.APP_HOST_VARIABLE: "App.example"}
    found, detail = await subscription_verdict(monkeypatch, response, environ)
    assert (found, named in detail) == (status, True), detail
    assert "s3cret" not in detail


@pytest.mark.parametrize(("code", "status"), [(404, "error"), (403, "warning"), (500, "warning")])
async def test_a_subscription_that_azure_does_not_show(monkeypatch: pytest.MonkeyPatch, code: int, status: str) -> None:
    found, detail = await subscription_verdict(monkeypatch, httpx.Response(code, text="<html>"))
    assert found == status, detail


async def test_a_subscription_in_an_unknown_place_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    found, detail = await subscription_verdict(monkeypatch, httpx.Response(200), {**PLACE, "TOPIC_NAME": ""})
    assert (found, detail) == ("warning", "not checked: set TOPIC_NAME, which `azd env get-values` prints")


async def test_a_local_stack_has_no_subscription_to_check() -> None:
    async with open_in_memory() as memory:
        assert [each.status for each in await doctor._events(memory.services)] == ["ok"]


def test_the_expected_function_is_one_of_the_app() -> None:
    name = event_subscription.FUNCTION.removeprefix("Host.Functions.")
    assert f"async def {name}(" in (Path(__file__).parents[2] / "function_app.py").read_text()
