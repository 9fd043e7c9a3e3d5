"""The checks of `doctor` for the console's access, pauses and dead letters, on services in memory."""

from __future__ import annotations

from functools import partial

import httpx
import pytest

from pipeline.cli import doctor
from pipeline.console.dispatch import console_of
from pipeline.settings import PLATFORM_AUTH_VARIABLE
from tests.console.client import http_request, text_of
from tests.memory import open_in_memory


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `doctor` know the host name of an app that is this process."""
    monkeypatch.setenv(doctor.APP_HOST_VARIABLE, "app.example")


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
    monkeypatch.delenv(doctor.APP_HOST_VARIABLE, raising=False)
    async with open_in_memory(console_access="app_service") as memory:
        (finding,) = await doctor._console(memory.services)
    assert (finding.status, doctor.APP_HOST_VARIABLE in finding.detail) == ("warning", True)


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
