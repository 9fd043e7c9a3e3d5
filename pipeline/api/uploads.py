"""Images in requests: the body itself, or the file of a multipart form."""

import re
from collections import Counter
from dataclasses import dataclass

from pipeline.api import multipart
from pipeline.api.http import MAX_JSON_BYTES, Request
from pipeline.api.multipart import Part
from pipeline.errors import RequestError, SourceError
from pipeline.settings import Settings
from pipeline.storage import safe_file_name

ANY_TYPE = "application/octet-stream"
IMAGE_TYPE = re.compile(r"image/[a-z0-9.+-]{1,60}")
RENDITION_PARAMETER = "rendition"
"""Query parameter that chooses a rendition as the response; it is part of no form."""


@dataclass(frozen=True)
class Upload:
    """An uploaded image, and the fields that came with it in the form or the query. `data` is a view of the body."""

    data: memoryview
    name: str
    content_type: str
    fields: dict[str, str]


def read_upload(request: Request, settings: Settings, field_names: set[str]) -> Upload:
    """Read the image of a request.

    Raises:
        RequestError: There is no image, or a field outside `field_names`.
        SourceError: The image is empty.
    """
    media_type = request.content_type.value
    if media_type == "multipart/form-data":
        query = known_query(request, field_names)
        upload = _of_form(request, field_names)
    elif media_type.startswith("image/") or media_type == ANY_TYPE:
        query = known_query(request, {"name", *field_names})
        upload = Upload(memoryview(request.body), query.get("name", ""), media_type, {})
    else:
        raise RequestError(
            "send JSON {source, recipe}, a form with an image and a recipe, or an image with ?recipe=NAME in the URL",
            kind="unsupported_media_type",
        )
    if not upload.data:
        raise SourceError("the image is empty (0 bytes): send it again", kind="empty_source")
    if len(upload.data) > settings.max_source_bytes:
        raise RequestError(f"the image is larger than {settings.max_source_bytes:,} bytes", kind="body_too_large")
    fields = {name: query[name] for name in field_names if name in query}
    for name in fields.keys() & upload.fields.keys():
        if fields[name] != upload.fields[name]:
            raise RequestError(f"{name} differs between the URL and the form: give it once")
    # The client's media type becomes a header of a blob: only the media type of an image may.
    content_type = upload.content_type if IMAGE_TYPE.fullmatch(upload.content_type) else ANY_TYPE
    return Upload(upload.data, safe_file_name(upload.name), content_type, fields | upload.fields)


def known_query(request: Request, names: set[str]) -> dict[str, str]:
    """Return the query parameters. Raises RequestError for one that is neither in `names` nor chooses a rendition."""
    query, known = request.query_parameters, {RENDITION_PARAMETER, *names}
    unknown = sorted(query.keys() - known)
    if unknown:
        allowed = ", ".join(sorted(known))
        raise RequestError(f"unknown query parameter {unknown[0][:40]!r}; allowed with this body: {allowed}")
    return query


def _of_form(request: Request, field_names: set[str]) -> Upload:
    """Return the only file of a form, with the form's fields."""
    parts = _parse(request)
    allowed = f"a form must have one file, and no fields except {', '.join(sorted(field_names))}"
    files = [part for part in parts if part.filename is not None and not part.is_unfilled]
    fields = [part for part in parts if part.filename is None]
    if len(files) > 1:
        names = ", ".join(repr(file.filename[:60]) for file in files if file.filename is not None)
        raise RequestError(f"the form has {len(files)} files ({names}): send a request for each image")
    for name, count in Counter(part.name for part in fields).items():
        if count > 1:
            raise RequestError(f"the form has the field {name[:40]!r} {count} times: give it once")
        if name not in field_names:
            without = " A file needs a filename in its Content-Disposition." if not files else ""
            raise RequestError(f"unknown field {name[:40]!r}; {allowed}.{without}")
    if not files:
        unfilled = next((part.name for part in parts if part.is_unfilled), None)
        empty = f"no file is chosen in the field {unfilled[:40]!r}" if unfilled is not None else "the form has no file"
        raise RequestError(f"{empty}; {allowed}")
    texts = {part.name: _text(part) for part in fields}
    return Upload(files[0].data, files[0].filename or "", files[0].content_type, texts)


def _parse(request: Request) -> list[Part]:
    body = request.body
    try:
        boundary = request.content_type.text("boundary")
    except ValueError as error:
        raise RequestError(f"Content-Type: {error}") from None
    if not boundary:
        raise RequestError(
            "Content-Type: multipart/form-data needs a boundary: do not set Content-Type, so that the HTTP library "
            "sets it with the boundary"
        )
    return multipart.parse(body, boundary)


def _text(part: Part) -> str:
    if len(part.data) > MAX_JSON_BYTES:
        raise RequestError(f"the field {part.name!r} is larger than {MAX_JSON_BYTES:,} bytes", kind="body_too_large")
    try:
        return bytes(part.data).decode()
    except UnicodeDecodeError:
        raise RequestError(f"the field {part.name!r} is not UTF-8: send it as UTF-8") from None
