"""HTTP requests and responses of the API, client preferences, its URLs, and its problem documents (RFC 9457).

Within the API, only this module and `routes` use Azure's classes.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import azure.functions as func
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from pipeline.errors import PipelineError, RequestError
from pipeline.recipes.error_messages import did_you_mean
from pipeline.settings import MIB, Settings
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
class Upload:
    """An uploaded image, and the fields that came with it in the form or the query."""

    data: bytes
    name: str
    content_type: str
    fields: dict[str, str]


@dataclass(frozen=True)
class Request:
    """A request on the route `path`."""

    request: func.HttpRequest
    path: str

    @property
    def links(self) -> Links:
        """URLs as this client reaches them."""
        return Links.of(self.request.url, self.path)

    @property
    def body(self) -> bytes:
        """The request body."""
        return self.request.get_body()

    @property
    def media_type(self) -> str:
        """Media type of the body, without its parameters."""
        return self.header("content-type").split(";")[0].strip().lower()

    @property
    def query_parameters(self) -> dict[str, str]:
        """Query parameters, without those of the platform."""
        parameters = self.request.params
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
        if body and self.media_type != "application/json":
            raise RequestError("send JSON, with Content-Type: application/json", kind="unsupported_media_type")
        if len(body) > MAX_JSON_BYTES:
            raise RequestError(f"the document is larger than {MAX_JSON_BYTES:,} bytes", kind="body_too_large")
        return _validated(model, lambda: model.model_validate_json(body or b"{}"))

    def form(self) -> list[Upload]:
        """Read the files of a multipart form, each with all fields. Raises RequestError if the form is malformed."""
        try:
            files, form = list(self.request.files.values()), self.request.form
            fields = {name: form[name] for name in form}
        except ValueError as error:
            raise RequestError(f"malformed form: {error}") from None
        with ExitStack() as opened:
            for file in files:
                opened.callback(file.close)
            return [Upload(each.read(), each.filename or "", each.mimetype or "", fields) for each in files]


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
        return problem_response(problem(error, **fields), **_retry_after(error)).http()
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


@dataclass(frozen=True)
class Preferences:
    """`wait` in seconds, 0 to respond at once; `image` is True if the client prefers an image to JSON."""

    wait: float
    image: bool
    wait_requested: bool
    async_requested: bool

    @classmethod
    def of(cls, request: Request, settings: Settings) -> Self:
        """Parse the headers; unknown preferences are ignored, as RFC 7240 requires."""
        prefer = request.header("prefer").lower()
        requested = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,4})\b", prefer)
        respond_async = re.search(r"(?:^|[,;\s])respond-async\b", prefer) is not None
        wait = min(float(requested.group(1)), settings.http_sync_wait) if requested else settings.http_sync_wait
        if respond_async and not requested:
            wait = 0
        return cls(wait, _prefers_images(request.header("accept")), requested is not None, respond_async)

    def applied(self, *, accepted: bool) -> dict[str, str]:
        """Return the header `Preference-Applied`; `accepted` if the response precedes the end of the job (202)."""
        words = [f"wait={self.wait:.0f}"] if self.wait_requested else []
        words += ["respond-async"] if self.async_requested and accepted else []
        return {"Preference-Applied": ", ".join(words)} if words else {}


def _prefers_images(accept: str) -> bool:
    """Return True if the accepted media type with the highest weight is an image; the first of equals counts."""
    ranges = [_media_range(each) for each in accept.lower().split(",") if each.strip()]
    best = max(ranges, key=lambda each: each[1], default=("", 0.0))
    return best[0].startswith("image/") and best[1] > 0


def _media_range(text: str) -> tuple[str, float]:
    """Parse a media range; return the media type and its weight."""
    media_type, *parameters = (part.strip() for part in text.split(";"))
    weight = next((part[2:].strip() for part in parameters if part.startswith("q=")), "1")
    return media_type, float(weight) if re.fullmatch(r"[01](\.\d{0,3})?", weight) else 0.0
