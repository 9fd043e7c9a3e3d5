r"""Keys of the ledger: table keys from blob names, and job ids.

Table keys must not hold `/ \ # ?` or control characters, and have at most 1 KiB of UTF-16, or 512 units (Microsoft,
"Understanding the Table service data model"). Each character is escaped on its own, so that the key of a prefix is a
prefix of the key.
"""

import base64
import hashlib
import re
import zlib
from dataclasses import dataclass
from typing import Self

from pipeline.errors import RecipeError

MAX_KEY_UNITS = 500
KEPT_UNITS = 400
_FORBIDDEN = re.compile(r"[/\\#?\x00-\x1f\x7f-\x9f]")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~ ")


def row_key(container: str, name: str, limit: int = MAX_KEY_UNITS) -> str:
    """Return the row key of a source. A name beyond the limit is cut, and a hash makes its key unique."""
    key = "".join(map(_escape, f"{container}/{name}"))
    if _units(key) <= limit:
        return key
    digest = hashlib.sha256(f"{container}/{name}".encode()).hexdigest()
    return f"{_cut(key)}!~{digest}"


def key_range(container: str, prefix: str) -> tuple[str, str]:
    """Return the half-open range of the row keys of sources with this prefix.

    If the prefix is longer than the part of a name that keys keep, the range holds other sources, too.
    """
    first = _cut("".join(map(_escape, f"{container}/{prefix}")))
    return first, first[:-1] + _next(first[-1])


def _next(char: str) -> str:
    """Return the next character that keys and queries may hold."""
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
    """Return True for a valid table key. Storage rejects a request for any other key."""
    return 0 < _units(text) <= MAX_KEY_UNITS and not _FORBIDDEN.search(text)


def _cut(key: str) -> str:
    start = key.encode("utf-16-le", "surrogatepass")[: KEPT_UNITS * 2].decode("utf-16-le", "ignore")
    return start.rstrip("!")


@dataclass(frozen=True)
class JobKey:
    """Key of a job, which is one source × one recipe. `id` names the job for users and in logs.

    The jobs of a recipe form a group. Ad-hoc recipes are many and rarely used twice: they share one group, so that
    their jobs can be listed. Their names have the form `_GROUP-DIGEST`, which no recipe of a file has; the digest
    begins the row key.

    The rows of a group are spread over partitions, the shards, by a hash of the row key: a partition takes a limited
    number of writes per second. The number of shards is that of the ledger, and no part of the key.
    """

    group: str
    row: str

    @classmethod
    def of(cls, recipe: str, container: str, name: str) -> Self:
        """Return the key of a recipe and a source."""
        if not recipe.startswith("_"):
            return cls(recipe, row_key(container, name))
        group, _, digest = recipe.partition("-")
        start = f"{digest}~"
        return cls(group, start + row_key(container, name, MAX_KEY_UNITS - len(start)))

    @classmethod
    def of_row(cls, partition: str, row: str) -> Self:
        """Return the key of a row of the ledger, by its partition key and its row key."""
        return cls(group_of(partition), row)

    @staticmethod
    def partitions(group: str, shards: int) -> list[str]:
        """Return the partition keys of a group."""
        return [group] if group.startswith("~") else [f"{group}~{shard:02d}" for shard in range(shards)]

    def partition(self, shards: int) -> str:
        """Return the partition key of the job in a ledger with this number of shards."""
        if self.group.startswith("~"):
            return self.group  # rows that are no jobs of recipes, such as unreadable messages, are few
        return f"{self.group}~{zlib.crc32(self.row.encode('utf-8', 'surrogatepass')) % shards:02d}"

    @property
    def is_grouped(self) -> bool:
        """True for a job of an ad-hoc recipe."""
        return self.group.startswith("_")

    @property
    def recipe(self) -> str:
        """The name of the recipe."""
        return f"{self.group}-{self.row.partition('~')[0]}" if self.is_grouped else self.group

    @property
    def id(self) -> str:
        """The id of the job, safe in URLs and logs: the group, a dot, and the row key in URL-safe base64."""
        return f"{self.group}.{base64.urlsafe_b64encode(self.row.encode()).decode().rstrip('=')}"

    @classmethod
    def parse(cls, job_id: str) -> Self:
        """Parse a job id. Raises RecipeError of kind `unknown_job` if it is invalid."""
        group, _, encoded = job_id.partition(".")
        try:
            row = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True).decode()
        except ValueError:
            row = ""
        if not (_is_key(group) and _is_key(row)):
            raise RecipeError(f"{job_id[:100]!r} is not a job id", kind="unknown_job")
        return cls(group, row)


def group_of(partition: str) -> str:
    """Return the group whose rows a partition holds: a recipe, or a group of ad-hoc recipes."""
    return partition if partition.startswith("~") else partition.partition("~")[0]


def source_of(key: JobKey) -> tuple[str, str] | None:
    """Return container and name of a job's source; None if the key holds only the beginning of the name."""
    row = key.row.partition("~")[2] if key.is_grouped else key.row
    if re.search(r"!~[0-9a-f]{64}$", row):
        return None
    container, _, name = re.sub(r"!([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), row).partition("/")
    return container, name


def source_prefix(key: JobKey) -> tuple[str, str]:
    """Return container and beginning of the name of a job's source, as far as the key holds it."""
    row = key.row.partition("~")[2] if key.is_grouped else key.row
    kept = re.sub(r"![0-9A-F]?$", "", re.sub(r"!~[0-9a-f]{64}$", "", row))
    container, _, start = re.sub(r"!([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), kept).partition("/")
    return container, start
