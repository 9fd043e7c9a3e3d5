"""Handlers of files: list, upload, describe, download, delete; and validation of names below `/mnt/data`."""

import mimetypes
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from session_pool_emulator.files import FileEntry, SessionFileNotFoundError, SessionFiles, StorageFullError
from session_pool_emulator.sandbox.process import SandboxError
from session_pool_emulator.session import Session
from session_pool_emulator.web.multipart import MultipartUpload
from session_pool_emulator.web.request_context import ApiVersion, RequestContext
from session_pool_emulator.web.responses import ApiError, bad_request, format_timestamp, json_response

ROOT = "/mnt/data"
_ALLOWED_PUNCTUATION = set("-_ .@$&=;,#%^()")
_MAX_NAME_BYTES = 255


def parse_file_name(name: str) -> str:
    """Validate a file name and remove a leading `/mnt/data/`.

    Raises:
        ApiError: 400 if the name is empty, too long, or contains a character that the service does not allow.
    """
    name = name.removeprefix(f"{ROOT}/")
    if name in ("", ".", "..") or not _is_valid(name):
        raise _invalid_path(name, "file name contains characters that are not allowed")
    return name


def parse_folder(path: str | None) -> list[str]:
    """Split a folder path, absolute or relative to `/mnt/data`, into the names below `/mnt/data`.

    Raises:
        ApiError: 400 if a name is invalid. Folder names must not contain a dot.
    """
    path = path or ""
    relative = path.removeprefix(ROOT) if path == ROOT or path.startswith(f"{ROOT}/") else path
    names = [name for name in relative.split("/") if name]
    if "." in path.replace("%2E", ".") or not all(map(_is_valid, names)):
        raise _invalid_path(path, "path cannot contain any reserved file path characters")
    return names


def _is_valid(name: str) -> bool:
    """Return whether all characters are allowed and the name has at most 255 bytes in UTF-8."""
    return len(name.encode("utf-8", "surrogatepass")) <= _MAX_NAME_BYTES and all(
        char.isalnum() or char in _ALLOWED_PUNCTUATION or (char > "\x7f" and char.isprintable()) for char in name
    )


def _invalid_path(path: str, reason: str) -> ApiError:
    return bad_request(f"File Path '{path}' is invalid because '{reason}'.", code="FilePathInvalid", target="path")


_CHUNK_BYTES = 256 << 10
_DIRECTORY_BYTES = 4096
_BINARY = "application/octet-stream"


async def list_files(request: Request) -> Response:
    """Handle GET /files."""
    context, folder = _context_and_folder(request)
    recursive = _boolean_parameter(context, "recursive")
    session, _ = await context.session()
    with _open_files(session) as files:
        try:
            entries = files.list_folder(folder, recursive=recursive)
        except SessionFileNotFoundError:
            entries = []
    return json_response(_list_body(context, entries))


async def upload(request: Request) -> Response:
    """Handle POST /files, and POST /files/upload of the legacy family."""
    context, folder = _context_and_folder(request)
    session, _ = await context.session()
    names: list[str] = []
    with _open_files(session) as files:
        with ExitStack() as stack:

            def open_file(name: str) -> int:
                """Create the file below the folder. It appears under its name after the last chunk."""
                names.append(parse_file_name(name))
                return stack.enter_context(files.create(folder, names[0]))

            content_type = request.headers.get("content-type", "")
            body = MultipartUpload(content_type, context.pool.settings.max_upload_bytes, open_file)
            await body.read(request.stream())
        entry = files.stat(folder, names[0])
    return _entry_response(context, entry)


async def get_file(request: Request) -> Response:
    """Handle GET /files/{name} and /files/{name}/content, and /files/content/{name} of the legacy family."""
    context, folder = _context_and_folder(request)
    name, is_content = _parse_file_path(context)
    session, _ = await context.session()
    if is_content:
        return _download(session, folder, name)
    with _open_files(session) as files:
        entry = files.stat(folder, name)
    return _entry_response(context, entry)


async def delete_file(request: Request) -> Response:
    """Handle DELETE /files/{name}."""
    context, folder = _context_and_folder(request)
    name, is_content = _parse_file_path(context)
    if is_content:
        raise bad_request("A file can be deleted, its content cannot.", code="SessionRequestNotSupported")
    session, _ = await context.session()
    with _open_files(session, not_found_code="DeleteFileError") as files:
        files.delete(folder, name)
    legacy = context.version.is_legacy
    return json_response({"message": "file deleted successfully"}) if legacy else Response(status_code=204)


def _context_and_folder(request: Request) -> tuple[RequestContext, list[str]]:
    return RequestContext.create(request), parse_folder(request.query_params.get("path"))


def _parse_file_path(context: RequestContext) -> tuple[str, bool]:
    """Return the file name in the path, and whether the path refers to the content of the file."""
    rest: str = context.request.path_params["rest"]
    name = rest.removeprefix("content/") if context.version.is_legacy else rest.removesuffix("/content")
    return parse_file_name(name), name != rest


def _boolean_parameter(context: RequestContext, name: str) -> bool:
    """Return a query parameter that exists since version 2025-10-02; it is false in older versions."""
    value = context.request.query_params.get(name, "false").lower()
    if value not in ("true", "false"):
        raise bad_request(f"The query parameter '{name}' must be true or false.", target=name)
    return value == "true" and context.version >= ApiVersion.V2025_10


@contextmanager
def _open_files(session: Session, *, not_found_code: str = "FileNotFound") -> Iterator[SessionFiles]:
    """Yield the files of a session, and convert errors in the block to error responses."""
    try:
        with session.in_use(), closing(session.files()) as files:
            yield files
    except SessionFileNotFoundError as error:
        raise ApiError(404, not_found_code, f"The file '{error}' does not exist.") from None
    except StorageFullError:
        raise ApiError(413, "SessionStorageFull", "The storage of the session has no space for this file.") from None
    except SandboxError:
        raise ApiError(404, not_found_code, "The session ended during the call.") from None
    except ClientDisconnect:
        raise bad_request("The body is incomplete.") from None


def _download(session: Session, folder: list[str], name: str) -> Response:
    with _open_files(session) as files:
        fd, entry = files.open(folder, name)
    headers = {"content-length": str(entry.size)}
    return StreamingResponse(_read_chunks(session, fd, entry.size), media_type=_content_type(entry), headers=headers)


async def _read_chunks(session: Session, fd: int, size: int) -> AsyncIterator[bytes]:
    """Yield the first `size` bytes of a file, then close its descriptor."""
    try:
        with session.in_use():
            while size > 0 and (chunk := os.read(fd, min(size, _CHUNK_BYTES))):
                size -= len(chunk)
                yield chunk
    finally:
        os.close(fd)


def _entry_response(context: RequestContext, entry: FileEntry) -> Response:
    """Describe one file. The legacy family returns a list of one file."""
    return json_response(_list_body(context, [entry]) if context.version.is_legacy else _file_body(context, entry))


def _list_body(context: RequestContext, entries: list[FileEntry]) -> dict[str, Any]:
    if not context.version.is_legacy:
        return {"value": [_file_body(context, entry) for entry in entries]}
    files = [
        {"filename": entry.name, "size": entry.size, "lastModifiedTime": format_timestamp(entry.modified_at)}
        for entry in entries
    ]
    numbered = enumerate(files, start=1)
    return {"$id": "1", "value": [{"$id": str(2 * n), "properties": {"$id": str(2 * n + 1), **e}} for n, e in numbered]}


def _file_body(context: RequestContext, entry: FileEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        **({"directory": entry.folder or "."} if context.version >= ApiVersion.V2025_10 else {}),
        "type": "directory" if entry.is_directory else "file",
        "contentType": _content_type(entry),
        "sizeInBytes": _DIRECTORY_BYTES if entry.is_directory else entry.size,
        "lastModifiedAt": format_timestamp(entry.modified_at),
    }


def _content_type(entry: FileEntry) -> str:
    """Guess the content type from the file name; text is UTF-8, unknown types are application/octet-stream."""
    guess = None if entry.is_directory else mimetypes.guess_type(entry.name)[0]
    if guess is None:
        return _BINARY
    return f"{guess}; charset=utf-8" if guess.startswith("text/") else guess
