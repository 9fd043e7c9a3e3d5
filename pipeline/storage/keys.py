"""Keys of the ledger: any blob name as a table key, and the id of a job.

Table keys may not hold `/ \\ # ?` and control characters, and are at most 1 KiB of UTF-16, which is 512 characters
(Microsoft, "Understanding the Table service data model"). Characters are escaped one by one, so that the key of a
prefix is a prefix of the key.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Self

from pipeline.errors import RecipeError

MAX_KEY_UNITS = 500
KEPT_UNITS = 400
_FORBIDDEN = re.compile(r"[/\\#?\x00-\x1f\x7f-\x9f]")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~ ")


def row_key(container: str, name: str, limit: int = MAX_KEY_UNITS) -> str:
    """The row key of a source; names over the limit keep their start and are told apart by a hash."""
    key = "".join(map(_escape, f"{container}/{name}"))
    if _units(key) <= limit:
        return key
    digest = hashlib.sha256(f"{container}/{name}".encode()).hexdigest()
    return f"{_cut(key)}!~{digest}"


def source_of(key: JobKey) -> tuple[str, str] | None:
    """Container and name of a job's source; None when the key holds but the beginning of its name."""
    row = key.row.partition("~")[2] if key.is_grouped else key.row
    if re.search(r"!~[0-9a-f]{64}$", row):
        return None
    container, _, name = re.sub(r"!([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), row).partition("/")
    return container, name


def key_range(container: str, prefix: str) -> tuple[str, str]:
    """The first row key that a source with this prefix can have, and one behind the last (half-open).

    Where the prefix is longer than what keys keep of a name, others may lie between them.
    """
    first = _cut("".join(map(_escape, f"{container}/{prefix}")))
    return first, first[:-1] + _next(first[-1])


def _next(char: str) -> str:
    """The character behind this one, of those that keys and queries may hold."""
    code = ord(char) + 1
    code = 0xA0 if 0x7F <= code <= 0x9F else code
    return chr(0xE000 if 0xD800 <= code <= 0xDFFF else min(code, 0x10FFFF))


def _escape(char: str) -> str:
    if char in _PLAIN or ord(char) > 0x9F:
        return char
    return f"!{ord(char):02X}"


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _is_key(text: str) -> bool:
    """Whether a table can have it as a key; asked for anything else, storage answers with an error of its own."""
    return 0 < _units(text) <= MAX_KEY_UNITS and not _FORBIDDEN.search(text)


def _cut(key: str) -> str:
    kept = key.encode("utf-16-le", "surrogatepass")[: KEPT_UNITS * 2].decode("utf-16-le", "ignore")
    return kept.rstrip("!") if kept.endswith("!") else kept


@dataclass(frozen=True)
class JobKey:
    """One source × one recipe. `id` is what people and logs call the job; it leads back to the row.

    Each recipe of the file has a partition. Recipes of requests are many and used once: they share one, and so can be
    listed. Their names are `_GROUP-DIGEST`, which no name in a file can be: the group is the partition, and the digest
    stands in front of the row.
    """

    partition: str
    row: str

    @classmethod
    def of(cls, recipe: str, container: str, name: str) -> Self:
        """The key of a source and a recipe."""
        if not recipe.startswith("_"):
            return cls(recipe, row_key(container, name))
        group, _, digest = recipe.partition("-")
        start = f"{digest}~"
        return cls(group, start + row_key(container, name, MAX_KEY_UNITS - len(start)))

    @property
    def is_grouped(self) -> bool:
        """Whether its recipe came with a request."""
        return self.partition.startswith("_")

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        return f"{self.partition}-{self.row.partition('~')[0]}" if self.is_grouped else self.partition

    @property
    def id(self) -> str:
        """Safe in a URL and in a log: the partition, a dot, the row key in URL-safe base64."""
        return f"{self.partition}.{base64.urlsafe_b64encode(self.row.encode()).decode().rstrip('=')}"

    @classmethod
    def parse(cls, job_id: str) -> Self:
        """The inverse of `id`; RecipeError when it is none."""
        partition, _, encoded = job_id.partition(".")
        try:
            row = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True).decode()
        except ValueError:
            row = ""
        if not (_is_key(partition) and _is_key(row)):
            raise RecipeError(f"{job_id[:100]!r} is not the id of a job", kind="unknown_job")
        return cls(partition, row)
