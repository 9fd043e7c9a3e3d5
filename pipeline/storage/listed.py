"""A source as a listing of blobs shows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Listed:
    """A source as listed. `size` is in bytes, `modified` the time of the last write.

    `content_md5` is the Content-MD5 that the blob declares, hexadecimal. `tags` are its index tags; None if they were
    not asked for, or storage did not list them.
    """

    name: str
    etag: str
    size: int
    content_type: str
    modified: datetime
    content_md5: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] | None = None
