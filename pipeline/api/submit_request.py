"""Parsing of job submissions: a job for a blob that is stored already, or for an image in the request."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from pipeline.api.http import Request, Upload
from pipeline.api.schemas import RecipeName
from pipeline.errors import RequestError
from pipeline.monitoring.document import Document
from pipeline.settings import Settings
from pipeline.storage.blob_names import BlobName, safe_file_name

IMAGE_TYPE = re.compile(r"image/[a-z0-9.+-]{1,60}")
ANY_TYPE = "application/octet-stream"


class SourceRef(Document):
    """A blob by container and name; a URL is not accepted."""

    container: Annotated[str, Field(max_length=63)] | None = None
    """Container of the blob; the input container by default."""
    name: BlobName


class JobRequest(Document, json_schema_extra={"examples": [{"source": "photos/a.jpg", "recipe": "web"}]}):
    """A submission of a job: a source, and a recipe by name or, if the settings allow it, in full."""

    source: BlobName | SourceRef
    recipe: RecipeName | None = None
    transforms: list[Any] | None = Field(None, max_length=50, description="As in the recipe file.")
    renditions: dict[str, Any] | None = Field(None, max_length=50, description="As in the recipe file.")

    @model_validator(mode="after")
    def _one_recipe(self) -> Self:
        if (self.recipe is None) == (self.renditions is None):
            raise ValueError(
                "send {source, recipe} to name a recipe, or {source, transforms, renditions} to supply one"
            )
        if self.recipe is not None and self.transforms is not None:
            raise ValueError("a named recipe has its own transforms: omit 'transforms'")
        return self

    @property
    def own_recipe(self) -> dict[str, Any] | None:
        """The recipe in the request, if there is one."""
        return None if self.renditions is None else {"transforms": self.transforms or [], "renditions": self.renditions}


@dataclass(frozen=True)
class SubmitRequest:
    """A validated submission.

    `image` holds the bytes of an uploaded image; `name` is then its file name. `recipe` is a name or the recipe itself.
    """

    container: str
    name: str
    recipe: str | dict[str, Any]
    image: bytes | None = None
    content_type: str = ANY_TYPE

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the submission in 64 hexadecimal digits; the same for JSON, form and body."""
        image = hashlib.sha256(self.image).hexdigest() if self.image is not None else None
        content = [self.container, self.name, self.recipe, image, self.content_type]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def parse_submission(request: Request, settings: Settings) -> SubmitRequest:
    """Parse the submission of a job. Raises RequestError if it is invalid."""
    if request.media_type == "application/json":
        _reject_unknown(request, set())
        return _named_source(request.json(JobRequest), settings)
    upload = read_upload(request, settings, {"recipe"})
    recipe = upload.fields.get("recipe")
    if not recipe:
        raise RequestError("no recipe is named: add the field 'recipe', or ?recipe=NAME to the URL")
    return SubmitRequest(settings.upload_container, upload.name, recipe, upload.data, upload.content_type)


def read_upload(request: Request, settings: Settings, field_names: set[str]) -> Upload:
    """Read the image of a request. Raises RequestError without an image, or with fields outside `field_names`."""
    media_type, query = request.media_type, request.query_parameters
    if media_type == "multipart/form-data":
        _reject_unknown(request, field_names)
        uploads = request.form()
        if len(uploads) != 1 or uploads[0].fields.keys() - field_names:
            raise RequestError(f"a form must have one file, and no fields except {', '.join(sorted(field_names))}")
        upload = uploads[0]
    elif media_type.startswith("image/") or media_type == ANY_TYPE:
        _reject_unknown(request, {"name", *field_names})
        upload = Upload(request.body, query.get("name", ""), media_type, {})
    else:
        raise RequestError(
            "send JSON {source, recipe}, a form with an image and a recipe, or an image with ?recipe=NAME in the URL",
            kind="unsupported_media_type",
        )
    if len(upload.data) > settings.max_source_bytes:
        raise RequestError(f"the image is larger than {settings.max_source_bytes:,} bytes", kind="body_too_large")
    fields = {name: query[name] for name in field_names if name in query}
    for name in fields.keys() & upload.fields.keys():
        if fields[name] != upload.fields[name]:
            raise RequestError(f"{name} differs between the URL and the form: give it once")
    # The client's media type becomes a header of a blob: only the media type of an image may.
    content_type = upload.content_type if IMAGE_TYPE.fullmatch(upload.content_type) else ANY_TYPE
    return Upload(upload.data, safe_file_name(upload.name), content_type, fields | upload.fields)


def _reject_unknown(request: Request, names: set[str]) -> None:
    unknown = sorted(request.query_parameters.keys() - names)
    if unknown:
        allowed = f"allowed with this body: {', '.join(sorted(names))}" if names else "none is allowed with this body"
        raise RequestError(f"unknown query parameter {unknown[0][:40]!r}; {allowed}")


def _named_source(body: JobRequest, settings: Settings) -> SubmitRequest:
    source = SourceRef(name=body.source) if isinstance(body.source, str) else body.source
    container = source.container or settings.input_container
    if container not in (settings.input_container, settings.upload_container):
        raise RequestError(f"container must be {settings.input_container!r} or {settings.upload_container!r}")
    return SubmitRequest(container, source.name, body.own_recipe or body.recipe or "")
