"""Client that sends requests to the console in this process, on services in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import azure.functions as func

from pipeline.console.dispatch import console_of
from pipeline.services import Services
from tests.memory import Memory, open_in_memory

HOST = "127.0.0.1"


def http_request(path: str = "", method: str = "GET", body: bytes = b"", **headers: str) -> func.HttpRequest:
    """Return a request for a path below the console's; `_` in the name of a header stands for `-`."""
    page = path.partition("?")[0].strip("/")
    named = {"host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
    url = f"http://{HOST}/api/console{path}"
    return func.HttpRequest(method, url, headers=named, route_params={"page": page}, body=body)


@dataclass
class ConsoleClient:
    """Sends requests as a user on this machine."""

    services: Services

    async def get(self, path: str = "", **query: str) -> func.HttpResponse:
        """Load a page."""
        text = f"?{urlencode(query, quote_via=quote)}" if query else ""
        return await console_of(self.services).handle(http_request(f"{path}{text}"))

    async def post(self, path: str, form: dict[str, str], **headers: str) -> func.HttpResponse:
        """Submit a form, with the headers of a browser on the same site unless others are given."""
        headers = {"sec-fetch-site": "same-origin", **headers, "content-type": "application/x-www-form-urlencoded"}
        return await console_of(self.services).handle(http_request(path, "POST", urlencode(form).encode(), **headers))

    async def csrf_token(self, path: str = "/runs/plan") -> str:
        """Return the CSRF token of the forms of a page."""
        return text_of(await self.get(path)).partition('name="csrf_token" value="')[2].partition('"')[0]


@asynccontextmanager
async def console_in_memory(recipes: str, **settings: Any) -> AsyncIterator[tuple[ConsoleClient, Memory]]:
    """Open a console on services in memory."""
    async with open_in_memory(recipes, console_access="open", **settings) as memory:
        yield ConsoleClient(memory.services), memory


def text_of(response: func.HttpResponse) -> str:
    """Return the body of a response as text."""
    return response.get_body().decode()
