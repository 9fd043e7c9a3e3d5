"""Client of the API without a host: dispatch a request to its route, as the platform does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import azure.functions as func

from pipeline.api import routes
from tests.stack import Stack

MULTIPART = "multipart/form-data; boundary=cut"
HOST = "https://pictures.example"


@dataclass(frozen=True)
class ApiResponse:
    """A response of the API."""

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
        """Kind of the problem. Asserts that the response is a problem document."""
        assert self.kind == "application/problem+json", self.body
        document = self.json()
        assert document["status"] == self.status
        assert document["detail"]
        assert document["title"]
        return str(document["type"]).removeprefix("urn:image-pipeline:problem:")


async def call(stack: Stack, method: str, url: str, body: Any = None, **headers: str) -> ApiResponse:
    """Send a request; a body that is not bytes is sent as JSON."""
    split = urlsplit(url)
    segments = split.path.removeprefix("/api/").split("/")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None and not isinstance(body, bytes):
        body, named = json.dumps(body).encode(), {"content-type": "application/json", **named}
    for route in sorted(routes.ROUTES, key=lambda each: "{" in each.path):
        parts = route.path.split("/")
        if route.method != method or len(parts) != len(segments):
            continue
        pairs = list(zip(parts, segments, strict=True))
        if all(part.startswith("{") or part == segment for part, segment in pairs):
            request = func.HttpRequest(
                method,
                HOST + url,
                headers=named,
                params=dict(parse_qsl(split.query)),
                route_params={part.strip("{}"): unquote(segment) for part, segment in pairs if part.startswith("{")},
                body=body or b"",
            )
            return ApiResponse(await routes.handle(route, lambda: stack.services, request))
    raise AssertionError(f"there is no route for {method} {url}")


def form_body(image: bytes, **fields: str) -> bytes:
    """Encode a form with an image; its file name tries a path traversal."""
    parts = [
        f'--cut\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    head = '--cut\r\nContent-Disposition: form-data; name="image"; filename="../../my photo.png"\r\n'
    return "".join(parts).encode() + f"{head}Content-Type: image/png\r\n\r\n".encode() + image + b"\r\n--cut--\r\n"
