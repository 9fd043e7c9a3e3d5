"""Names of files as names of blobs: some names that a file system allows cannot be sent to storage."""

import os

from pipeline.storage import is_blob_name
from pipeline.telemetry import printable


def name_fault(name: str) -> str | None:
    """Return the reason why no blob can have this file's name, as a message about the file; None if one can."""
    try:
        name.encode()
    except UnicodeEncodeError:  # Python keeps bytes that are not UTF-8 as lone surrogates
        return f"{readable(name)}: its name is not UTF-8: rename the file"
    if is_blob_name(name):
        return None
    reason = "has a control character" if not name.isprintable() else "is not valid for a blob"
    return f"{readable(name)}: its name {reason}: rename the file"


def readable(name: str) -> str:
    """Return a file name for a terminal: control characters and bytes that are not UTF-8 are escaped."""
    return printable(os.fsencode(name).decode(errors="backslashreplace"))
