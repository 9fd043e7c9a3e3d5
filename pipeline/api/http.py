"""Requests as handlers read them, and answers as they give them. Nothing else here knows Azure's classes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import azure.functions as func
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.api.links import Links
from pipeline.api.problems import MEDIA_TYPE, RETRY_AFTER, BadRequest, Problem, problem, unexpected
from pipeline.errors import PipelineError
from pipeline.settings import MIB
from pipeline.telemetry import logger

log = logger(__name__)
M = TypeVar("M", bound=BaseModel)
# The platform's load balancer waits for 230 seconds, and then answers something of its own.
LONGEST = 220.0
LONGEST_JSON = 1 * MIB
# Where the platform looks for a function key; no parameter of any function here.
PLATFORM = {"code", "clientid"}


@dataclass(frozen=True)
class Response:
    """What a request is answered with: a document or bytes."""

    body: BaseModel | bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"

    def http(self) -> func.HttpResponse:
        """In Azure's form. `no-store`: what happened to a job may change at any time."""
        data = self.body.model_dump_json(by_alias=True).encode() if isinstance(self.body, BaseModel) else self.body
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", **self.headers}
        return func.HttpResponse(data, status_code=self.status, headers=headers, mimetype=self.media_type)


@dataclass(frozen=True)
class Request:
    """A request on one of the routes."""

    request: func.HttpRequest
    path: str

    @property
    def links(self) -> Links:
        """Addresses as this caller reaches them."""
        return Links.of(self.request.url, self.path)

    def parameter(self, name: str) -> str:
        """A part of the path; BadRequest when it holds what no name here does."""
        value = self.request.route_params.get(name) or ""
        if not value.isprintable() or len(value) > 2048:
            raise BadRequest(f"{name} holds characters that are not printable, or too many")
        return value

    def query(self, model: type[M]) -> M:
        """The parameters of the address. BadRequest says what is wrong with them, unknown ones too."""
        asked = {name: self.request.params[name] for name in self.parameters}
        return _valid(lambda: model.model_validate_strings(asked))

    @property
    def parameters(self) -> set[str]:
        """The names of the address's parameters, without those that the platform looks at."""
        return {name for name in self.request.params if name.lower() not in PLATFORM}

    def json(self, model: type[M]) -> M:
        """The JSON document in the body; nothing at all counts as an empty one. BadRequest says what is wrong."""
        body = self.request.get_body()
        if body and self.media_type != "application/json":
            raise BadRequest("send JSON, with Content-Type: application/json", kind="unsupported_media_type")
        if len(body) > LONGEST_JSON:
            raise BadRequest(f"the document is larger than {LONGEST_JSON:,} bytes", kind="body_too_large")
        return _valid(lambda: model.model_validate_json(body or b"{}"))

    @property
    def media_type(self) -> str:
        """The type of the body, without its parameters."""
        return self.header("content-type").split(";")[0].strip().lower()

    def header(self, name: str) -> str:
        """A header, or nothing."""
        return self.request.headers.get(name) or ""


def _valid(read: Callable[[], M]) -> M:
    try:
        return read()
    except ValidationError as error:
        raise BadRequest("; ".join(_lines(error))) from None


def _lines(error: ValidationError) -> list[str]:
    found = [(_place(each), _message(each)) for each in error.errors(include_url=False, include_input=False)]
    return list(dict.fromkeys(f"{place}: {message}" if place else message for place, message in found))


def _place(detail: ErrorDetails) -> str:
    """Where it stands in the document: without what pydantic puts between, such as `function-after[…]` or a model."""
    *within, last = detail["loc"] or ("",)
    known = [str(part) for part in within if isinstance(part, int) or re.fullmatch(r"[a-z0-9_-]{1,60}", part)]
    if detail["type"] == "extra_forbidden" or isinstance(last, int) or re.fullmatch(r"[a-z0-9_-]{1,60}", last):
        known.append(str(last)[:60])
    return ".".join(known)


def _message(detail: ErrorDetails) -> str:
    if detail["type"] == "model_type":
        return "Input should be an object"
    return detail["msg"].removeprefix("Value error, ")


async def respond(answer: Callable[[], Awaitable[Response]], **about: Any) -> func.HttpResponse:  # noqa: ANN401
    """An answer to every request, in time: the handler's own, or a problem document. `about` are fields of that."""
    try:
        async with asyncio.timeout(LONGEST):
            return (await answer()).http()
    except PipelineError as error:
        return problem_response(problem(error, **about)).http()
    except TimeoutError:
        late = PipelineError(f"no answer within {LONGEST:.0f} s; what was begun goes on", kind="timeout")
        return problem_response(problem(late, **about)).http()
    except Exception:  # the boundary: no traceback may reach a user
        log.exception("a bug: the request gets no proper answer")
        return problem_response(unexpected()).http()


def problem_response(document: Problem, **headers: str) -> Response:
    """A problem document as the answer."""
    if document.status in (503, 504):
        headers["Retry-After"] = str(RETRY_AFTER)
    data = document.model_dump_json(exclude_none=True).encode()
    return Response(data, document.status, headers, MEDIA_TYPE)
