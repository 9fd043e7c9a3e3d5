"""What a request asks for, checked: a job for a blob that is there already, or for an image in the request."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Self

import azure.functions as func
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from pipeline.settings import Settings
from pipeline.web.problems import BadRequest


def _no_steps(name: str) -> str:
    """HTTP clients resolve `.` and `..` in an address, so that such a name would be another blob's."""
    if {".", ".."} & set(name.split("/")):
        raise ValueError("no part of a name may be '.' or '..'")
    return name


BlobName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$"),
    AfterValidator(_no_steps),
]
NAME_LIMIT = 100
IMAGE_TYPE = re.compile(r"image/[a-z0-9.+-]{1,60}")


class SourceRef(BaseModel):
    """A blob by container and name; never an address."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    container: str | None = None
    name: BlobName


class JobRequest(BaseModel):
    """The JSON body of a request for a job."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: BlobName | SourceRef
    recipe: str = Field(min_length=1, max_length=100)


@dataclass(frozen=True)
class Wanted:
    """One job that is asked for. `image` holds the bytes of an image that came along, `name` then is its file name."""

    container: str
    name: str
    recipe: str
    image: bytes | None = None
    content_type: str = "application/octet-stream"


@dataclass(frozen=True)
class Preferences:
    """How the answer is wanted (RFC 7240, `Prefer`): `wait` in seconds, 0 for an answer at once."""

    wait: float
    image: bool

    @classmethod
    def of(cls, request: func.HttpRequest, settings: Settings) -> Self:
        """Read the headers; what is not understood is left out, as RFC 7240 wants it."""
        prefer = request.headers.get("prefer", "").lower()
        asked = re.search(r"\bwait=(\d{1,4})\b", prefer)
        wait = min(float(asked.group(1)), settings.http_wait) if asked else settings.http_wait
        if re.search(r"\brespond-async\b", prefer) and not asked:
            wait = 0
        return cls(wait=wait, image=request.headers.get("accept", "").lower().startswith("image/"))


def wanted(request: func.HttpRequest, settings: Settings) -> Wanted:
    """The job that a request asks for; BadRequest says what is wrong with it."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "application/json":
        return _from_json(request.get_body(), settings)
    if kind == "multipart/form-data":
        return _from_form(request, settings)
    if kind.startswith("image/") or kind == "application/octet-stream":
        return _from_body(request, kind, settings)
    raise BadRequest(
        "send JSON {source, recipe}, a form with an image and a recipe, or an image with ?recipe=NAME in the address",
        kind="unsupported_media_type",
    )


def _from_json(body: bytes, settings: Settings) -> Wanted:
    try:
        asked = JobRequest.model_validate_json(body)
    except ValidationError as error:
        raise BadRequest("; ".join(_lines(error))) from None
    source = SourceRef(name=asked.source) if isinstance(asked.source, str) else asked.source
    container = source.container or settings.input_container
    if container not in (settings.input_container, settings.upload_container):
        raise BadRequest(f"container must be {settings.input_container!r} or {settings.upload_container!r}")
    return Wanted(container, source.name, asked.recipe)


def _from_form(request: func.HttpRequest, settings: Settings) -> Wanted:
    try:
        files, fields = list(request.files.values()), request.form
    except ValueError as error:
        raise BadRequest(f"the form cannot be read: {error}") from None
    with ExitStack() as opened:
        for file in files:
            opened.callback(file.close)
        if len(files) != 1 or set(fields) - {"recipe"}:
            raise BadRequest("the form must hold one file and the field 'recipe'")
        recipe = fields.get("recipe") or request.params.get("recipe", "")
        return _image(files[0].read(), files[0].filename or "", files[0].mimetype or "", recipe, settings)


def _from_body(request: func.HttpRequest, kind: str, settings: Settings) -> Wanted:
    params = request.params
    return _image(request.get_body(), params.get("name", ""), kind, params.get("recipe", ""), settings)


def _image(data: bytes, name: str, kind: str, recipe: str, settings: Settings) -> Wanted:
    if not recipe:
        raise BadRequest("no recipe is named: add the field 'recipe', or ?recipe=NAME to the address")
    if len(data) > settings.max_source_bytes:
        raise BadRequest(f"the image is larger than {settings.max_source_bytes:,} bytes", kind="body_too_large")
    # What a client says of its image becomes a header of a blob: only what has the form of an image's type does.
    content_type = kind if IMAGE_TYPE.fullmatch(kind) else Wanted.content_type
    return Wanted(settings.upload_container, safe_name(name), recipe, data, content_type)


def safe_name(name: str) -> str:
    """The last part of a file name, of letters, digits and `-_.` alone."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip(".-")[-NAME_LIMIT:] or "image"


def _lines(error: ValidationError) -> list[str]:
    places = [(".".join(str(part) for part in problem["loc"]), problem["msg"]) for problem in error.errors()]
    return [f"{place}: {message}" if place else message for place, message in places]
