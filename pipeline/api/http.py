"""HTTP requests and responses of the API, its URLs, and its problem documents (RFC 9457).

Within the API, only this module and `routes` use Azure's classes.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Self, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import azure.functions as func
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from pipeline.api.header_fields import HeaderField
from pipeline.concurrency import Reservation
from pipeline.errors import PipelineError, RequestError, TransientError
from pipeline.recipes.error_messages import did_you_mean
from pipeline.settings import MIB
from pipeline.telemetry import logger

log = logger(__name__)
M = TypeVar("M", bound=BaseModel)
# The platform's load balancer ends a request with its own error after 230 s.
REQUEST_TIMEOUT_SECONDS = 220.0
MAX_JSON_BYTES = 1 * MIB
# Query parameters that may hold a function key; they belong to the platform.
PLATFORM_PARAMETERS = {"code", "clientid"}
FIELD_NAME = re.compile(r"[a-z0-9_-]{1,60}")
MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:image-pipeline:problem:"
RETRY_AFTER_SECONDS, MAX_RETRY_AFTER_SECONDS = 5, 300


@dataclass(frozen=True)
class Links:
    """Builder of URLs without scheme and host, which hold behind any reverse proxy. `base` is the path prefix."""

    base: str = "/api"

    @classmethod
    def of(cls, url: str, path: str) -> Self:
        """Return the links for a request to `url` on the route `path`, such as `jobs/{id}`."""
        segments = urlsplit(url).path.rstrip("/").split("/")
        return cls("/".join(segments[: -len(path.split("/"))]))

    def to(self, *segments: str, **query: str | None) -> str:
        """Return the URL of a resource, with escaped segments and without query parameters that are None."""
        encoded = urlencode({name: value for name, value in query.items() if value is not None})
        path = "/".join([self.base, *(quote(segment, safe="") for segment in segments)])
        return f"{path}?{encoded}" if encoded else path


@dataclass(frozen=True)
class Response:
    """A response: a document or bytes."""

    body: BaseModel | bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"

    def http(self) -> func.HttpResponse:
        """Convert to Azure's class. Clients must not cache, because the state of a job may change at any time."""
        data = self.body.model_dump_json(by_alias=True).encode() if isinstance(self.body, BaseModel) else self.body
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", **self.headers}
        return func.HttpResponse(data, status_code=self.status, headers=headers, mimetype=self.media_type)


@dataclass(frozen=True)
class Request:
    """A request on the route `path`. `max_body_bytes` is the limit for its body, `memory` its part of the budget."""

    request: func.HttpRequest
    path: str
    max_body_bytes: int
    memory: Reservation

    def reserve(self, size: int) -> None:
        """Reserve bytes of memory for a body. Raises TransientError of kind `http_memory_full` if others hold them."""
        if not self.memory.add(size):
            raise TransientError(
                "other requests hold the memory for large bodies (PIPELINE_HTTP_MEMORY_BYTES): try again later",
                kind="http_memory_full",
            )

    @property
    def links(self) -> Links:
        """URLs as this client reaches them."""
        return Links.of(self.request.url, self.path)

    @property
    def body(self) -> bytes:
        """The request body.

        Raises:
            RequestError: The body is compressed or too large, or the platform has not handed it on.
        """
        body = self.request.get_body()
        if not body and (self.header("transfer-encoding") or not self._says_it_is_empty):
            raise RequestError(
                "the request body has not arrived, because its length is unknown: the platform drops a chunked body "
                "(Transfer-Encoding: chunked). Send Content-Length with the length of the body",
                kind="length_required",
            )
        encoding = self.header("content-encoding").strip().lower()
        if body and {each.strip() for each in encoding.split(",")} - {"", "identity"}:
            raise RequestError(
                f"the body has Content-Encoding {encoding[:40]!r}: send it without compression",
                kind="unsupported_content_encoding",
            )
        if len(body) > self.max_body_bytes:
            raise RequestError(
                f"the body has {len(body):,} bytes; at most {self.max_body_bytes:,} are allowed "
                "(PIPELINE_HTTP_MAX_BODY_BYTES): upload larger images to the input container",
                kind="body_too_large",
            )
        return body

    @property
    def _says_it_is_empty(self) -> bool:
        """True for an empty request: HTTP/1.1 has no body without Content-Length, but then it has no media type."""
        return bool(self.header("content-length")) or not self.header("content-type")

    @property
    def content_type(self) -> HeaderField:
        """Media type of the body with its parameters, such as the boundary of a form.

        Raises RequestError for anything else than one media type, such as two headers that the platform has joined.
        """
        text = self.header("content-type")
        try:
            parsed = HeaderField.parse(text)
        except ValueError as error:
            raise RequestError(f"Content-Type: {error}: send one media type") from None
        if text and not parsed.is_media_type:
            raise RequestError(f"Content-Type {text[:100]!r} is not one media type, such as image/jpeg: send one")
        return parsed

    @property
    def query_parameters(self) -> dict[str, str]:
        """Query parameters, without those of the platform. Raises RequestError if one is given twice."""
        parameters = self.request.params
        # The platform ignores case, and joins the values of a repeated parameter.
        pairs = parse_qsl(urlsplit(self.request.url).query, keep_blank_values=True)
        for name, count in Counter(name.lower() for name, _ in pairs).items():
            if count > 1 and name not in PLATFORM_PARAMETERS:
                raise RequestError(f"the query parameter {name[:40]!r} is given {count} times: give it once")
        return {name: parameters[name] for name in parameters if name.lower() not in PLATFORM_PARAMETERS}

    def header(self, name: str) -> str:
        """Return a header, or an empty string."""
        return self.request.headers.get(name) or ""

    def parameter(self, name: str) -> str:
        """Return a parameter of the path. Raises RequestError if it is too long or has unprintable characters."""
        value = self.request.route_params.get(name) or ""
        if not value.isprintable() or len(value) > 2048:
            raise RequestError(f"{name} has unprintable characters, or more than 2,048 characters")
        return value

    def query(self, model: type[M]) -> M:
        """Validate the query parameters. Raises RequestError with all errors, unknown parameters included."""
        return _validated(model, lambda: model.model_validate_strings(self.query_parameters))

    def json(self, model: type[M]) -> M:
        """Validate the JSON body; an empty body counts as `{}`. Raises RequestError with all errors."""
        body = self.body
        if body and self.content_type.value != "application/json":
            raise RequestError("send JSON, with Content-Type: application/json", kind="unsupported_media_type")
        if len(body) > MAX_JSON_BYTES:
            raise RequestError(f"the document is larger than {MAX_JSON_BYTES:,} bytes", kind="body_too_large")
        _reject_repeated_names(body)
        return _validated(model, lambda: model.model_validate_json(body or b"{}"))


def _reject_repeated_names(body: bytes) -> None:
    """Raise RequestError if an object of a document has a name twice: parsers differ in the value that counts."""

    def check(pairs: list[tuple[str, Any]]) -> None:
        for name, count in Counter(name for name, _ in pairs).items():
            if count > 1:
                raise RequestError(f"the document has {name[:40]!r} {count} times in one object: give it once")

    # The validation reports everything else.
    with suppress(ValueError, RecursionError):
        json.loads(body or b"{}", object_pairs_hook=check)


def _validated(model: type[M], validate: Callable[[], M]) -> M:
    try:
        return validate()
    except ValidationError as error:
        lines = (_message(each, model) for each in error.errors(include_url=False, include_input=False))
        raise RequestError("; ".join(dict.fromkeys(lines))) from None


def _message(detail: ErrorDetails, model: type[BaseModel]) -> str:
    """Describe a validation error: the field, the fault, and the nearest known name of an unknown field."""
    place, kind = _place(detail), detail["type"]
    if kind == "extra_forbidden":
        schema = model.model_json_schema()
        names = {name for each in (schema, *schema.get("$defs", {}).values()) for name in each.get("properties", ())}
        return f"unknown field {place!r}; {did_you_mean(place.rpartition('.')[2], names)}"
    if kind == "missing":
        return f"missing field {place!r}"
    text = re.sub(r", unable to parse .*", "", detail["msg"].removeprefix("Value error, "))
    text = "must be an object" if kind == "model_type" else re.sub(r"^\w+ should ", "must ", text)
    return f"{place or 'the document'} {text}" if text.startswith("must ") else f"{place}: {text}".removeprefix(": ")


def _place(detail: ErrorDetails) -> str:
    """Return the dotted path of a field, without pydantic's own parts such as `function-after[…]` or a model's name."""
    *parents, last = detail["loc"] or ("",)
    path = [str(part) for part in parents if isinstance(part, int) or FIELD_NAME.fullmatch(part)]
    if detail["type"] == "extra_forbidden" or isinstance(last, int) or FIELD_NAME.fullmatch(last):
        path.append(str(last)[:60])
    return ".".join(path)


class Problem(BaseModel, frozen=True):
    """An error, as RFC 9457 describes it."""

    type: str = Field(pattern=r"^urn:image-pipeline:problem:[a-z_]+$", description="Stable identifier of the error.")
    title: str
    status: int
    detail: str = Field(description="The error, and the change that avoids it.")
    job: str | None = Field(None, description="Id of the job that the error is about.")
    stage: str | None = Field(None, description="Stage at which the job failed.")


def problem(error: PipelineError, **fields: Any) -> Problem:  # noqa: ANN401 - fields of Problem
    """Return the problem document of an error; `fields` are `job` and `stage`."""
    status, title = error.status_and_title
    return Problem(type=TYPE_PREFIX + error.kind, title=title, status=status, detail=error.message, **fields)


async def respond(handler: Callable[[], Awaitable[Response]], **fields: Any) -> func.HttpResponse:  # noqa: ANN401
    """Call a handler and always return a response in time: its own, or a problem document with these `fields`."""
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
            return (await handler()).http()
    except PipelineError as error:
        headers = _retry_after(error)
        if error.kind == "unsupported_content_encoding":
            headers["Accept-Encoding"] = "identity"
        return problem_response(problem(error, **fields), **headers).http()
    except TimeoutError:
        timeout = PipelineError(
            f"no result within {REQUEST_TIMEOUT_SECONDS:.0f} s; work that has started continues", kind="timeout"
        )
        return problem_response(problem(timeout, **fields)).http()
    except Exception:  # the boundary: no traceback may reach a client
        log.exception("internal error: the request gets a response without details", extra={"event": "request.failed"})
        return problem_response(problem(PipelineError("see the log", kind="internal"))).http()


def _retry_after(error: PipelineError) -> dict[str, str]:
    """Return the header Retry-After if the error names a delay."""
    seconds = getattr(error, "retry_after", None)
    return {"Retry-After": str(ceil(min(seconds, MAX_RETRY_AFTER_SECONDS)))} if seconds else {}


def problem_response(document: Problem, **headers: str) -> Response:
    """Return a response with a problem document; with `Retry-After` if a retry may succeed."""
    if document.status in (503, 504):
        headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
    data = document.model_dump_json(exclude_none=True).encode()
    return Response(data, document.status, headers, MEDIA_TYPE)
