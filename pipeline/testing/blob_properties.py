"""Properties of blobs in memory, as the SDK returns them."""

import hashlib
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from pipeline.testing.store import DEFAULT_HEADERS, Blob, Headers


def properties_of(path: str, blob: Blob) -> Any:
    """Return the properties of the blob at `container/name`."""
    content_type, cache_control, *declared = blob.headers
    # Like the service: of a blob that was written by one call, unless its writer declares another one.
    md5 = declared[0] if declared else None if blob.committed else hashlib.md5(blob.data or b"").digest()  # noqa: S324
    return SimpleNamespace(
        name=path.partition("/")[2],
        etag=blob.etag,
        size=len(blob.data or b""),
        content_settings=SimpleNamespace(content_type=content_type, cache_control=cache_control, content_md5=md5),
        metadata=dict(blob.metadata),
        tags=None,
        last_modified=datetime.fromtimestamp(blob.modified, UTC),
    )


def headers_of(settings: Any) -> Headers:
    """Return the headers of the SDK's settings: content type, cache control and, if given, Content-MD5."""
    if not settings:
        return DEFAULT_HEADERS
    headers = (settings.content_type or DEFAULT_HEADERS[0], settings.cache_control)
    return (*headers, bytes(settings.content_md5)) if settings.content_md5 else headers
