"""Files of a session: list, upload, look at, download, delete."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from session_pool_emulator.files import Entry, Files, NoRoom, NoSuchFile
from session_pool_emulator.sandbox.process import SandboxError
from session_pool_emulator.session import Session
from session_pool_emulator.web import names
from session_pool_emulator.web.answers import json_response, timestamp
from session_pool_emulator.web.call import Call, Version
from session_pool_emulator.web.errors import ApiError, bad_request
from session_pool_emulator.web.uploads import FilePart

_CHUNK_BYTES = 256 << 10
_DIRECTORY_BYTES = 4096
_BINARY = "application/octet-stream"


async def list_files(request: Request) -> Response:
    """GET files."""
    call = Call.of(request)
    folder = names.folder(request.query_params.get("path"))
    recursive = _flag(call, "recursive")
    session, _ = await call.session()
    with _files(session) as files:
        try:
            entries = files.entries(folder, recursive=recursive)
        except NoSuchFile:
            entries = []
    return json_response(_listing(call, entries))


async def upload(request: Request) -> Response:
    """POST files, and POST files/upload of the old family."""
    call = Call.of(request)
    folder = names.folder(request.query_params.get("path"))
    limit = call.pool.settings.max_upload
    session, _ = await call.session()
    with _files(session) as files, ExitStack() as opened:
        target: list[str] = []

        def open_target(name: str) -> int:
            target.append(names.file_name(name))
            return opened.enter_context(files.create(folder, target[0]))

        try:
            await FilePart(request.headers.get("content-type", ""), limit, open_target).read(request.stream())
            opened.close()
        except BaseException as error:
            opened.__exit__(type(error), error, error.__traceback__)
            raise
        entry = files.stat(folder, target[0])
    return json_response(_listing(call, [entry]) if call.version.old else _describe(call, entry))


async def get_item(request: Request) -> Response:
    """GET files/{name}, files/{name}/content, and files/content/{name} of the old family."""
    call = Call.of(request)
    name, content = _item(call)
    folder = names.folder(request.query_params.get("path"))
    session, _ = await call.session()
    if content:
        return _download(session, folder, name)
    with _files(session) as files:
        entry = files.stat(folder, name)
    return json_response(_listing(call, [entry]) if call.version.old else _describe(call, entry))


async def delete_item(request: Request) -> Response:
    """DELETE files/{name}."""
    call = Call.of(request)
    name, content = _item(call)
    if content:
        raise bad_request("Only a file can be deleted, not its content.", code="SessionRequestNotSupported")
    folder = names.folder(request.query_params.get("path"))
    session, _ = await call.session()
    with _files(session, missing="DeleteFileError") as files:
        files.delete(folder, name)
    return json_response({"message": "file deleted successfully"}) if call.version.old else Response(status_code=204)


def _item(call: Call) -> tuple[str, bool]:
    """The file's name, and whether its content is meant."""
    rest: str = call.request.path_params["rest"]
    content = rest.startswith("content/") if call.version.old else rest.endswith("/content")
    if content:
        rest = rest.removeprefix("content/") if call.version.old else rest.removesuffix("/content")
    return names.file_name(rest), content


def _flag(call: Call, name: str) -> bool:
    value = call.request.query_params.get(name, "false").lower()
    if value not in ("true", "false"):
        raise bad_request(f"The query parameter '{name}' must be true or false.", target=name)
    return value == "true" and call.version >= Version.V2025_10


@contextmanager
def _files(session: Session, *, missing: str = "FileNotFound") -> Iterator[Files]:
    try:
        with session.in_use(), session.files() as files:
            yield files
    except NoSuchFile as error:
        raise ApiError(404, missing, f"The file '{error}' does not exist.") from None
    except NoRoom:
        raise ApiError(413, "SessionStorageFull", "There is no room for this file in the session.") from None
    except SandboxError:
        raise ApiError(404, missing, "The session ended in the middle of the call.") from None
    except ClientDisconnect:
        raise bad_request("The body is not whole.") from None


def _download(session: Session, folder: list[str], name: str) -> Response:
    with _files(session) as files:
        fd, entry = files.open(folder, name)
    headers = {"content-length": str(entry.size)}
    return StreamingResponse(_chunks(session, fd, entry.size), media_type=_content_type(entry), headers=headers)


async def _chunks(session: Session, fd: int, size: int) -> AsyncIterator[bytes]:
    try:
        with session.in_use():
            while size > 0 and (chunk := os.read(fd, min(size, _CHUNK_BYTES))):
                size -= len(chunk)
                yield chunk
    finally:
        os.close(fd)


def _listing(call: Call, entries: list[Entry]) -> dict[str, Any]:
    if not call.version.old:
        return {"value": [_describe(call, entry) for entry in entries]}
    numbered = enumerate(entries, start=1)
    value = [{"$id": str(2 * n), "properties": {"$id": str(2 * n + 1)} | _describe_old(e)} for n, e in numbered]
    return {"$id": "1", "value": value}


def _describe(call: Call, entry: Entry) -> dict[str, Any]:
    body: dict[str, Any] = {"name": entry.name}
    if call.version >= Version.V2025_10:
        body["directory"] = entry.folder or "."
    body["type"] = "directory" if entry.is_directory else "file"
    body["contentType"] = _content_type(entry)
    body["sizeInBytes"] = _DIRECTORY_BYTES if entry.is_directory else entry.size
    body["lastModifiedAt"] = timestamp(entry.modified_at)
    return body


def _describe_old(entry: Entry) -> dict[str, Any]:
    return {"filename": entry.name, "size": entry.size, "lastModifiedTime": timestamp(entry.modified_at)}


def _content_type(entry: Entry) -> str:
    guessed = None if entry.is_directory else mimetypes.guess_type(entry.name)[0]
    if guessed is None:
        return _BINARY
    return f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed
