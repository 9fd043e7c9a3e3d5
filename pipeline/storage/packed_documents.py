"""Documents of a row that no query reads, compressed in one binary column.

Azure counts and limits the throughput of a table in KiB, and two bytes for each character of a text.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any

from pipeline.storage.row_columns import InvalidColumn

# Storage accepts 64 KiB in a column; the documents of a row cannot become larger than this.
MAX_UNPACKED_BYTES = 4_000_000
_RENDITION_TEXTS, _RENDITION_NUMBERS = ("name", "path", "format", "sha256"), ("size", "width", "height")


def pack(documents: Mapping[str, Any]) -> bytes:
    """Return JSON documents, compressed. Empty documents are left out; without any, the result is empty."""
    filled = {name: document for name, document in documents.items() if document}
    if not filled:
        return b""
    text = json.dumps(filled, ensure_ascii=False, separators=(",", ":"))
    return zlib.compress(text.encode("utf-8", "surrogatepass"))


class Documents:
    """The documents in a column. Every method raises InvalidColumn if a document has another type."""

    def __init__(self, column: str, packed: bytes) -> None:
        """Unpack a column. Raises InvalidColumn if it holds no compressed JSON object."""
        self._column = column
        self._documents = _unpack(column, packed) if packed else {}

    def text(self, name: str) -> str:
        """Return a text; empty without the document."""
        found = self._documents.get(name, "")
        if not isinstance(found, str):
            raise InvalidColumn(f"the document {name} in the column {self._column} is not a text")
        return found

    def mapping(self, name: str) -> dict[str, Any]:
        """Return a JSON object; empty without the document."""
        found = self._documents.get(name, {})
        if not isinstance(found, dict):
            raise InvalidColumn(f"the document {name} in the column {self._column} is not a JSON object")
        return found

    def sequence(self, name: str) -> list[Any]:
        """Return a JSON list; empty without the document."""
        found = self._documents.get(name, [])
        if not isinstance(found, list):
            raise InvalidColumn(f"the document {name} in the column {self._column} is not a JSON list")
        return found

    def numbers(self, name: str) -> dict[str, float]:
        """Return a JSON object of numbers; empty without the document."""
        return self._values(name, int | float, "numbers")

    def texts(self, name: str) -> dict[str, str]:
        """Return a JSON object of texts; empty without the document."""
        return self._values(name, str, "texts")

    def renditions(self, name: str) -> list[dict[str, Any]]:
        """Return the facts of renditions, a JSON list; empty without the document."""
        found = self.sequence(name)
        if not all(map(_is_rendition, found)):
            raise InvalidColumn(f"the document {name} in the column {self._column} is not a JSON list of renditions")
        return found

    def _values(self, name: str, kind: Any, noun: str) -> dict[str, Any]:  # noqa: ANN401 - a type or a union of types
        found = self.mapping(name)
        if not all(isinstance(value, kind) for value in found.values()):
            raise InvalidColumn(f"the document {name} in the column {self._column} is not a JSON object of {noun}")
        return found


def _unpack(column: str, packed: bytes) -> dict[str, Any]:
    try:
        data = zlib.decompressobj().decompress(packed, MAX_UNPACKED_BYTES)
        documents = json.loads(data.decode("utf-8", "surrogatepass"))
    except (zlib.error, ValueError, RecursionError):
        documents = None
    if not isinstance(documents, dict):
        raise InvalidColumn(f"the column {column} holds no compressed JSON object")
    return documents


def _is_rendition(facts: object) -> bool:
    return (
        isinstance(facts, dict)
        and "name" in facts
        and all(isinstance(facts.get(name, ""), str) for name in _RENDITION_TEXTS)
        and all(isinstance(facts.get(name, 0), int) for name in _RENDITION_NUMBERS)
    )
