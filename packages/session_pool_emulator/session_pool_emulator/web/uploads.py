"""A multipart upload as it arrives: the part named `file` goes to the session piece by piece, never held whole."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from session_pool_emulator.web.errors import ApiError, bad_request

_HEADER_BYTES = 16 << 10


class FilePart:
    """Feeds a multipart body to whatever `open_target` answers for the file's name: a descriptor to write to."""

    def __init__(self, content_type: str, limit: int, open_target: Callable[[str], int]) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise bad_request("The body must be multipart/form-data with a part named 'file'.")
        self.received = 0
        self.finished = False
        self._limit = limit
        self._open_target = open_target
        self._fd: int | None = None
        self._in_file = False
        self._field = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._parser = MultipartParser(options[b"boundary"], self._callbacks())  # type: ignore[arg-type]

    async def read(self, chunks: AsyncIterator[bytes]) -> None:
        """Take in the whole body. Raises ApiError; what is over the limit is read and dropped first, so that a client
        that only writes meets the answer and not a closed connection."""
        total = 0
        async for chunk in chunks:
            total += len(chunk)
            if self.received <= self._limit:
                self._feed(chunk)
        if self.received > self._limit:
            raise ApiError(413, "FileTooLarge", f"A file may have {self._limit} bytes.")
        if self._fd is None or not self.finished:
            raise bad_request("The body must hold one whole part named 'file', with a file name.", target="file")

    def _feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise bad_request(f"The body is not multipart/form-data: {error}") from None

    def _callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._part_begins,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_ends,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._data,
            "on_part_end": self._part_ends,
        }

    def _part_begins(self) -> None:
        self._headers = {}
        self._in_file = False

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field = self._bounded(self._field + data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value = self._bounded(self._value + data[start:end])

    def _bounded(self, text: bytes) -> bytes:
        if len(text) > _HEADER_BYTES:
            raise bad_request("A part's header is too long.")
        return text

    def _header_ends(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if options.get(b"name") != b"file" or self._fd is not None:
            return
        if b"filename" not in options:
            raise bad_request("The part named 'file' has no file name.", target="file")
        self._fd = self._open_target(options[b"filename"].decode("utf-8", "replace"))
        self._in_file = True

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file and self._fd is not None:
            self.received += end - start
            if self.received <= self._limit:
                view = memoryview(data)[start:end]
                while view:
                    view = view[os.write(self._fd, view) :]

    def _part_ends(self) -> None:
        self.finished = self.finished or self._in_file
