"""Names that come from outside: of blobs, of recipes, of files."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import unquote

from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, ValidationError

NAME_LIMIT = 100


def _one_blob(name: str) -> str:
    """HTTP clients resolve `.` and `..` in an address, encoded ones too: such a name would be another blob's."""
    if "://" in name:
        raise ValueError("sources are named by container and name, never by an address")
    if name.startswith("/") or "\\" in name:
        raise ValueError("a name has no slash at its start, and no backslash")
    if {".", ".."} & {unquote(part) for part in name.split("/")}:
        raise ValueError("no part of a name may be '.' or '..'")
    return name


BlobName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$"),
    AfterValidator(_one_blob),
    Field(description="The blob's name in its container.", examples=["photos/a.jpg"]),
]
RecipeName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100, pattern=r"^[a-z0-9_~][a-z0-9_-]*$"),
    Field(description="The recipe's name.", examples=["web"]),
]


_BLOB_NAME = TypeAdapter(BlobName)


def is_blob_name(name: str) -> bool:
    """Whether it may be asked for as a blob's name: it then is one in its own container, whatever HTTP makes of it."""
    try:
        _BLOB_NAME.validate_python(name)
    except ValidationError:
        return False
    return True


def safe_name(name: str) -> str:
    """The last part of a file name, of letters, digits and `-_.` alone."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip(".-")[-NAME_LIMIT:] or "image"
