"""Streaming parser for multipart uploads. It writes the part named `file` to a descriptor and never buffers it."""

import os
from collections.abc import AsyncIterator, Callable

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from session_pool_emulator.web.responses import ApiError, bad_request

_MAX_HEADER_BYTES = 16 << 10


class MultipartUpload:
    """Upload of one file in a multipart body."""

    def __init__(self, content_type: str, limit: int, open_file: Callable[[str], int]) -> None:
        """Prepare to parse a body whose file has at most `limit` bytes.

        `open_file` is called with the name of the file and returns the descriptor to write to.

        Raises:
            ApiError: 400 if the content type is not multipart/form-data.
        """
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise bad_request("The body must be multipart/form-data with a part named 'file'.")
        self._received_bytes = 0
        self._complete = False
        self._limit = limit
        self._open_file = open_file
        self._fd: int | None = None
        self._in_file = False
        self._header_name = self._header_value = b""
        self._headers: dict[bytes, bytes] = {}
        callbacks = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_name,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
        }
        self._parser = MultipartParser(options[b"boundary"], callbacks)  # type: ignore[arg-type]

    async def read(self, chunks: AsyncIterator[bytes]) -> None:
        """Read the whole body and write the file.

        The rest of a file above the limit is read and discarded, so that the client finishes its request and receives
        the response instead of a closed connection.

        Raises:
            ApiError: 413 if the file is too large, 400 if the body is malformed or has no complete file.
        """
        async for chunk in chunks:
            if self._received_bytes <= self._limit:
                self._parse(chunk)
        if self._received_bytes > self._limit:
            raise ApiError(413, "FileTooLarge", f"A file must not exceed {self._limit} bytes.")
        if self._fd is None or not self._complete:
            raise bad_request("The body must hold one complete part named 'file', with a file name.", target="file")

    def _parse(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise bad_request(f"The body is not multipart/form-data: {error}") from None

    def _on_part_begin(self) -> None:
        self._headers = {}
        self._in_file = False

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name = _limit_header(self._header_name + data[start:end])

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value = _limit_header(self._header_value + data[start:end])

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        """Open the file at the first part named `file`; ignore other parts."""
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if options.get(b"name") != b"file" or self._fd is not None:
            return
        if b"filename" not in options:
            raise bad_request("The part named 'file' has no file name.", target="file")
        self._fd = self._open_file(options[b"filename"].decode("utf-8", "replace"))
        self._in_file = True

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file and self._fd is not None:
            self._received_bytes += end - start
            if self._received_bytes <= self._limit:
                view = memoryview(data)[start:end]
                while view:
                    view = view[os.write(self._fd, view) :]

    def _on_part_end(self) -> None:
        self._complete = self._complete or self._in_file


def _limit_header(text: bytes) -> bytes:
    if len(text) > _MAX_HEADER_BYTES:
        raise bad_request(f"A header of a part must not exceed {_MAX_HEADER_BYTES} bytes.")
    return text
