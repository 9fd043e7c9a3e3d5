"""Validation of blob names that come from requests, and safe file names for uploads."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import unquote

from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, ValidationError

MAX_FILE_NAME_CHARACTERS = 100


def _within_container(name: str) -> str:
    """Reject URLs and path traversal: HTTP clients resolve `.` and `..`, encoded or not, to the URL of another blob."""
    if "://" in name:
        raise ValueError("a source is named by container and blob name, not by a URL")
    if name.startswith("/") or "\\" in name:
        raise ValueError("a blob name has no slash at its start and no backslash")
    if {".", ".."} & {unquote(part) for part in name.split("/")}:
        raise ValueError("no part of a blob name may be '.' or '..'")
    return name


BlobName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$"),
    AfterValidator(_within_container),
    Field(description="Name of the blob in its container.", examples=["photos/a.jpg"]),
]
_BLOB_NAME = TypeAdapter(BlobName)


def is_blob_name(name: str) -> bool:
    """Tell if `name` names one blob in its own container, however HTTP clients normalize the URL."""
    try:
        _BLOB_NAME.validate_python(name)
    except ValidationError:
        return False
    return True


def safe_file_name(name: str) -> str:
    """Reduce a file name to its last part, with letters, digits and `-_.` only; `image` if nothing is left."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip(".-")[-MAX_FILE_NAME_CHARACTERS:] or "image"
