"""What a request asks for, checked: a job for a blob that is there already, or for an image in the request."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Any, Self

import azure.functions as func
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.api.http import Request
from pipeline.api.names import BlobName, RecipeName, safe_name
from pipeline.api.problems import BadRequest
from pipeline.settings import Settings

IMAGE_TYPE = re.compile(r"image/[a-z0-9.+-]{1,60}")
ANY_TYPE = "application/octet-stream"
STRICT = ConfigDict(extra="forbid", frozen=True)


class SourceRef(BaseModel):
    """A blob by container and name; never an address."""

    model_config = STRICT

    container: Annotated[str, Field(max_length=63)] | None = None
    """The input container, unless it says otherwise."""
    name: BlobName


class JobRequest(BaseModel):
    """A request for a job: a source, and a recipe by its name or, where the settings allow it, in full."""

    model_config = STRICT | ConfigDict(json_schema_extra={"examples": [{"source": "photos/a.jpg", "recipe": "web"}]})

    source: BlobName | SourceRef
    recipe: RecipeName | None = None
    transforms: list[Any] | None = Field(None, max_length=50, description="As in the recipe file.")
    renditions: dict[str, Any] | None = Field(None, max_length=50, description="As in the recipe file.")

    @model_validator(mode="after")
    def _one_recipe(self) -> Self:
        if (self.recipe is None) == (self.renditions is None):
            raise ValueError("name one recipe, or bring one: {source, recipe} or {source, transforms, renditions}")
        if self.recipe is not None and self.transforms is not None:
            raise ValueError("a recipe that is named has its own transforms: leave them out")
        return self

    @property
    def own_recipe(self) -> dict[str, Any] | None:
        """The recipe that the request brings."""
        return None if self.renditions is None else {"transforms": self.transforms or [], "renditions": self.renditions}


@dataclass(frozen=True)
class SubmitRequest:
    """One job that is asked for. `image` holds the bytes of an image that came along, `name` then is its file name.

    `recipe` is a name, or the recipe itself.
    """

    container: str
    name: str
    recipe: str | dict[str, Any]
    image: bytes | None = None
    content_type: str = ANY_TYPE

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits over everything that is asked for, however it was sent."""
        image = hashlib.sha256(self.image).hexdigest() if self.image is not None else None
        asked = [self.container, self.name, self.recipe, image, self.content_type]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Upload:
    """An image in a request: as a form's file, with the form's fields, or as the body."""

    data: bytes
    name: str
    content_type: str
    fields: dict[str, str]


def wanted(call: Request, settings: Settings) -> SubmitRequest:
    """The job that a request asks for; BadRequest says what is wrong with it."""
    if call.media_type == "application/json":
        _refuse_unknown(call, set())
        return _named(call.json(JobRequest), settings)
    found = upload(call, settings, {"recipe"})
    recipe = found.fields.get("recipe")
    if not recipe:
        raise BadRequest("no recipe is named: add the field 'recipe', or ?recipe=NAME to the address")
    return SubmitRequest(settings.upload_container, found.name, recipe, found.data, found.content_type)


def upload(call: Request, settings: Settings, known: set[str]) -> Upload:
    """The image in a request. BadRequest when there is none, or when fields other than the `known` came with it."""
    kind, params = call.media_type, dict(call.request.params)
    if kind == "multipart/form-data":
        _refuse_unknown(call, known)
        found = _from_form(call.request, known)
    elif kind.startswith("image/") or kind == ANY_TYPE:
        _refuse_unknown(call, {"name", *known})
        found = Upload(call.request.get_body(), params.get("name", ""), kind, {})
    else:
        raise BadRequest(
            "send JSON {source, recipe}, a form with an image and a recipe, or an image with ?recipe=NAME in the "
            "address",
            kind="unsupported_media_type",
        )
    if len(found.data) > settings.max_source_bytes:
        raise BadRequest(f"the image is larger than {settings.max_source_bytes:,} bytes", kind="body_too_large")
    asked = {name: params[name] for name in known if name in params}
    for name in asked.keys() & found.fields.keys():
        if asked[name] != found.fields[name]:
            raise BadRequest(f"{name} is one thing in the address and another in the form: give it once")
    # What a client says of its image becomes a header of a blob: only what has the form of an image's type does.
    content_type = found.content_type if IMAGE_TYPE.fullmatch(found.content_type) else ANY_TYPE
    return Upload(found.data, safe_name(found.name), content_type, asked | found.fields)


def _refuse_unknown(call: Request, known: set[str]) -> None:
    unknown = sorted(call.parameters - known)
    if unknown:
        which = f"takes only {', '.join(sorted(known))} in its address" if known else "takes nothing in its address"
        raise BadRequest(f"{unknown[0][:40]!r} is not known here: a request with such a body {which}")


def _named(asked: JobRequest, settings: Settings) -> SubmitRequest:
    source = SourceRef(name=asked.source) if isinstance(asked.source, str) else asked.source
    container = source.container or settings.input_container
    if container not in (settings.input_container, settings.upload_container):
        raise BadRequest(f"container must be {settings.input_container!r} or {settings.upload_container!r}")
    return SubmitRequest(container, source.name, asked.own_recipe or asked.recipe or "")


def _from_form(request: func.HttpRequest, known: set[str]) -> Upload:
    try:
        files, fields = list(request.files.values()), {name: request.form[name] for name in request.form}
    except ValueError as error:
        raise BadRequest(f"the form cannot be read: {error}") from None
    with ExitStack() as opened:
        for file in files:
            opened.callback(file.close)
        if len(files) != 1 or set(fields) - known:
            raise BadRequest(f"the form must hold one file, and of fields only: {', '.join(sorted(known))}")
        (file,) = files
        return Upload(file.read(), file.filename or "", file.mimetype or "", fields)
