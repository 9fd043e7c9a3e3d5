"""Calling the API without a host: a request goes to its route as the platform would send it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import azure.functions as func

from pipeline.api import http_trigger, routes
from tests.stack import Stack

MULTIPART = "multipart/form-data; boundary=cut"
HOST = "https://pictures.example"


@dataclass(frozen=True)
class Answered:
    """An answer, read."""

    response: func.HttpResponse

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def kind(self) -> str:
        return self.response.mimetype

    @property
    def body(self) -> bytes:
        return self.response.get_body()

    @property
    def headers(self) -> Any:
        return self.response.headers

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        """The last word of the problem's type; it must be a problem document."""
        assert self.kind == "application/problem+json", self.body
        document = self.json()
        assert document["status"] == self.status
        assert document["detail"]
        assert document["title"]
        return str(document["type"]).removeprefix("urn:image-pipeline:problem:")


async def call(stack: Stack, method: str, address: str, body: Any = None, **headers: str) -> Answered:
    """The answer to a request; a body that is not bytes is sent as JSON."""
    url = urlsplit(address)
    asked = url.path.removeprefix("/api/").split("/")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None and not isinstance(body, bytes):
        body, named = json.dumps(body).encode(), {"content-type": "application/json", **named}
    for route in sorted(routes.ROUTES, key=lambda each: "{" in each.path):
        parts = route.path.split("/")
        fits = len(parts) == len(asked) and all(
            part.startswith("{") or part == given for part, given in zip(parts, asked, strict=True)
        )
        if fits and route.method == method:
            params = {
                part.strip("{}"): unquote(given)
                for part, given in zip(parts, asked, strict=True)
                if part.startswith("{")
            }
            request = func.HttpRequest(
                method,
                HOST + address,
                headers=named,
                params=dict(parse_qsl(url.query)),
                route_params=params,
                body=body or b"",
            )
            return Answered(await http_trigger.handle(route, lambda: stack.services, request))
    raise AssertionError(f"there is no route for {method} {address}")


def form_body(image: bytes, **fields: str) -> bytes:
    """A form with an image whose file name is a trick."""
    parts = [
        f'--cut\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    head = '--cut\r\nContent-Disposition: form-data; name="image"; filename="../../my photo.png"\r\n'
    return "".join(parts).encode() + f"{head}Content-Type: image/png\r\n\r\n".encode() + image + b"\r\n--cut--\r\n"
