"""Decode listings of blobs and pages of rows without the SDK, which takes most of the CPU time of planning for that.

The SDK builds its models of 40 fields for each blob and each row. Here a hook takes the body of a response, and leaves
an empty one for the SDK, which still sends the requests, signs in, retries, and finds the next page. Without a body to
take, as with storage in memory or another version of the SDK, the models of the SDK are used.
"""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from pipeline.storage.listed import Listed

_NO_ROWS = b'{"value": []}'
_BLOBS, _BLOBS_END = b"<Blobs>", b"</Blobs>"


@dataclass
class TakenRows:
    """A hook for responses that takes their rows. `rows` is None if no rows were taken."""

    rows: list["Row"] | None = None

    def __call__(self, response: Any) -> None:  # noqa: ANN401 - a response of the SDK's pipeline
        """Take the rows of a response."""
        body = _body(response)
        if body is not None:
            rows = json.loads(body).get("value")
            if isinstance(rows, list):
                self.rows = [Row.decode(row) for row in rows]
                _replace_body(response, _NO_ROWS)


class Row(dict[str, Any]):
    """A row with metadata, as the SDK returns it."""

    metadata: dict[str, Any]

    @classmethod
    def decode(cls, fields: dict[str, Any]) -> "Row":
        """Return a row from its JSON, in which values of other types than JSON's have a type beside them."""
        row = cls()
        for name, value in fields.items():
            if "odata." in name:
                continue
            convert = _CONVERTED.get(fields.get(f"{name}@odata.type", ""))
            row[name] = value if convert is None or value is None else convert(value)
        moment = row.pop("Timestamp", None)
        row.metadata = {"etag": fields.get("odata.etag", ""), "timestamp": moment}
        return row


def _moment(text: str) -> datetime:
    """Return a moment of storage, which may have seven digits after the point."""
    seconds, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{seconds}.{fraction[:6]:0<6}+00:00")


_CONVERTED: dict[str, Callable[[Any], Any]] = {
    "Edm.Int64": int,
    "Edm.DateTime": _moment,
    "Edm.Binary": base64.b64decode,
}


@dataclass
class TakenBlobs:
    """A hook for responses that takes the listed blobs, with `tags` or without. `blobs` is None if none were taken."""

    tags: bool = False
    blobs: list[Listed] | None = None

    def __call__(self, response: Any) -> None:  # noqa: ANN401
        """Take the blobs of a response."""
        body = _body(response)
        start, end = (body.find(_BLOBS), body.find(_BLOBS_END)) if body else (-1, -1)
        if body and 0 <= start < end:
            self.blobs = [*_blobs(body[start : end + len(_BLOBS_END)], tags=self.tags)]
            _replace_body(response, body[:start] + b"<Blobs />" + body[end + len(_BLOBS_END) :])


def _blobs(text: bytes, *, tags: bool) -> Iterator[Listed]:
    for blob in ElementTree.fromstring(text):  # noqa: S314 - the text is storage's
        name = blob.find("Name")
        properties = {each.tag: each.text or "" for each in blob.find("Properties") or ()}
        if name is None or not properties:
            continue
        metadata, pairs = blob.find("Metadata"), blob.iterfind("Tags/TagSet/Tag")
        yield Listed(
            unquote(name.text or "") if name.get("Encoded") == "true" else name.text or "",
            properties["Etag"].strip('"'),
            int(properties["Content-Length"]),
            properties.get("Content-Type", ""),
            parsedate_to_datetime(properties["Last-Modified"]),
            base64.b64decode(properties.get("Content-MD5", "")).hex(),
            {each.tag: each.text or "" for each in metadata} if metadata is not None else {},
            {tag.findtext("Key", ""): tag.findtext("Value", "") for tag in pairs} if tags else None,
        )


def _body(response: Any) -> bytes | None:  # noqa: ANN401
    """Return the body of a successful response that has been read; None otherwise."""
    http = response.http_response
    body = getattr(http, "_content", None)
    return body if http.status_code == 200 and isinstance(body, bytes) else None


def _replace_body(response: Any, body: bytes) -> None:  # noqa: ANN401
    response.http_response._content = body
