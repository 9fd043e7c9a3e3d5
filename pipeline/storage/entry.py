r"""Rows of the ledger and their keys: the row of a job, its list rows by state and by run, job ids.

Table keys must not hold `/ \ # ?` or control characters, and have at most 1 KiB of UTF-16, or 512 units (Microsoft,
"Understanding the Table service data model"). Each character is escaped on its own, so that the key of a prefix is a
prefix of the key.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Self, get_args

from azure.data.tables import EdmType, EntityProperty

from pipeline.engine.revisions import decoder_revision
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

    Each recipe of the file has its own partition. Ad-hoc recipes are many and rarely used twice: they share one
    partition, so that their jobs can be listed. Their names have the form `_GROUP-DIGEST`, which no recipe of a file
    has; the group is the partition, and the digest begins the row key.
    """

    partition: str
    row: str

    @classmethod
    def of(cls, recipe: str, container: str, name: str) -> Self:
        """Return the key of a recipe and a source."""
        if not recipe.startswith("_"):
            return cls(recipe, row_key(container, name))
        group, _, digest = recipe.partition("-")
        start = f"{digest}~"
        return cls(group, start + row_key(container, name, MAX_KEY_UNITS - len(start)))

    @property
    def is_grouped(self) -> bool:
        """True for a job of an ad-hoc recipe."""
        return self.partition.startswith("_")

    @property
    def recipe(self) -> str:
        """The name of the recipe."""
        return f"{self.partition}-{self.row.partition('~')[0]}" if self.is_grouped else self.partition

    @property
    def id(self) -> str:
        """The id of the job, safe in URLs and logs: the partition, a dot, and the row key in URL-safe base64."""
        return f"{self.partition}.{base64.urlsafe_b64encode(self.row.encode()).decode().rstrip('=')}"

    @classmethod
    def parse(cls, job_id: str) -> Self:
        """Parse a job id. Raises RecipeError of kind `unknown_job` if it is invalid."""
        partition, _, encoded = job_id.partition(".")
        try:
            row = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True).decode()
        except ValueError:
            row = ""
        if not (_is_key(partition) and _is_key(row)):
            raise RecipeError(f"{job_id[:100]!r} is not a job id", kind="unknown_job")
        return cls(partition, row)


def source_of(key: JobKey) -> tuple[str, str] | None:
    """Return container and name of a job's source; None if the key holds only the beginning of the name."""
    row = key.row.partition("~")[2] if key.is_grouped else key.row
    if re.search(r"!~[0-9a-f]{64}$", row):
        return None
    container, _, name = re.sub(r"!([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), row).partition("/")
    return container, name


State = Literal["queued", "running", "done", "failed", "dismissed", "superseded"]
STATES: Final = get_args(State)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
# Row keys of lists begin with this mark. No row key of a source does, since a container's name begins with a letter or
# a digit, and the mark sorts behind those.
LIST_MARK = "~"
# Prefix of the row keys in the list of all jobs.
ALL_LIST_PREFIX = f"{LIST_MARK}a{LIST_MARK}"
# Partition, in place of a recipe, of unreadable queue messages that are recorded as failures.
UNREADABLE_PARTITION = "~unreadable"
# Lists are sorted newest first: a position counts down from this time in milliseconds, with 13 digits until 2286.
_LAST_MILLISECOND = 9_999_999_999_999
# Columns that planning needs.
SUMMARY_COLUMNS = [
    "PartitionKey",
    "RowKey",
    "state",
    "source_etag",
    "recipe_hash",
    "source_format",
    "decoder_revision",
    "generation",
    "expires",
    "since",
    "run",
    "listed",
]
# Columns that list rows omit.
UNLISTED_COLUMNS = ("report", "listed", "owner", "source_format", "decoder_revision")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Version:
    """The version of a job: the ETag of its source and the hash of its recipe."""

    etag: str
    recipe_hash: str


@dataclass(frozen=True)
class Entry:
    """A row of the ledger. Times are in UTC, sizes in bytes, and `ms` in milliseconds per stage.

    `generation` grows with every claim and is the fencing token. `expires` is the end of the claim. `since` is when the
    job entered its state. `run` is the last run that included the job. `listed` holds the keys of its list rows.
    Entries of a list have no `report`.

    `source_format` is the format of the source as the session detected it (Pillow's name), and `decoder_revision` the
    revision of its decoder when the job ended; both are empty if no session has opened the source.
    """

    key: JobKey
    container: str
    name: str
    state: State
    version: Version
    generation: int = 0
    owner: str = ""
    expires: datetime = LONG_AGO
    since: datetime = LONG_AGO
    run: str = ""
    attempts: int = 0
    source_format: str = ""
    decoder_revision: int = 0
    error_kind: str = ""
    error_class: str = ""
    error_message: str = ""
    error_tail: str = ""
    stage: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    ms: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    renditions: list[dict[str, Any]] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)
    listed: tuple[str, ...] = ()
    changed: datetime | None = None
    row_etag: str = ""

    @classmethod
    def from_row(cls, row: Any) -> Self:  # noqa: ANN401 - an entity of the SDK, a mapping with metadata
        """Read a table entity: the row of a job, or one of its list rows."""
        # The service returns null for a selected column that the row does not have.
        columns = {column: value for column, value in row.items() if value is not None}
        return cls(
            key=JobKey(columns["PartitionKey"], columns.get("job") or columns["RowKey"]),
            container=columns.get("container", ""),
            name=columns.get("name", ""),
            state=columns["state"],
            version=Version(columns["source_etag"], columns["recipe_hash"]),
            generation=int64_value(columns["generation"]),
            owner=columns.get("owner", ""),
            expires=columns["expires"],
            since=columns.get("since", LONG_AGO),
            run=columns.get("run", ""),
            attempts=columns.get("attempts", 0),
            source_format=columns.get("source_format", ""),
            decoder_revision=columns.get("decoder_revision", 0),
            error_kind=columns.get("error_kind", ""),
            error_class=columns.get("error_class", ""),
            error_message=columns.get("error_message", ""),
            error_tail=columns.get("error_tail", ""),
            stage=columns.get("stage", ""),
            bytes_in=int64_value(columns.get("bytes_in", 0)),
            bytes_out=int64_value(columns.get("bytes_out", 0)),
            ms=json.loads(columns.get("ms", "{}")),
            versions=json.loads(columns.get("versions", "{}")),
            renditions=json.loads(columns.get("renditions", "[]")),
            report=json.loads(columns.get("report", "{}")),
            listed=tuple(columns.get("listed", "").split()),
            changed=row.metadata.get("timestamp"),
            row_etag=row.metadata["etag"],
        )

    def to_row(self) -> dict[str, Any]:
        """Return the table entity. Empty values have no column: every column costs bytes in up to four rows per job."""
        texts = {
            "run": self.run,
            "source_format": self.source_format,
            "error_kind": self.error_kind,
            "error_class": self.error_class,
            "error_message": self.error_message[:8000],
            "error_tail": self.error_tail[-2000:],
            "stage": self.stage,
        }
        sizes = {"bytes_in": self.bytes_in, "bytes_out": self.bytes_out}
        documents = {"ms": self.ms, "versions": self.versions, "renditions": self.renditions, "report": self.report}
        return {
            "PartitionKey": self.key.partition,
            "RowKey": self.key.row,
            "container": self.container,
            "name": self.name,
            "state": self.state,
            "source_etag": self.version.etag,
            "recipe_hash": self.version.recipe_hash,
            "generation": int64(self.generation),
            "owner": self.owner,
            "expires": self.expires,
            "since": self.since,
            "attempts": self.attempts,
            "listed": " ".join(self.listed),
            **{column: text for column, text in texts.items() if text},
            **({"decoder_revision": self.decoder_revision} if self.decoder_revision else {}),
            **{column: int64(size) for column, size in sizes.items() if size},
            **{column: json.dumps(each, ensure_ascii=False) for column, each in documents.items() if each},
        }

    @property
    def decoder_outdated(self) -> bool:
        """True if this process has a newer decoder for the source's format than the job had."""
        return decoder_revision(self.source_format) > self.decoder_revision

    @property
    def is_running(self) -> bool:
        """True if a worker holds a claim that has not expired."""
        return self.state == "running" and self.expires > datetime.now(UTC)

    def list_keys(self) -> tuple[str, ...]:
        """Return the keys of the list rows that this entry needs: by state, among all jobs, and by run."""
        starts = (state_list_prefix(self.state), ALL_LIST_PREFIX, *([run_list_prefix(self.run)] if self.run else []))
        return tuple(start + self._position for start in starts)

    def list_row(self, key: str) -> dict[str, Any]:
        """Return the list row for a key."""
        row = {**self.to_row(), "RowKey": key, "job": self.key.row}
        return {column: value for column, value in row.items() if column not in UNLISTED_COLUMNS}

    @property
    def _position(self) -> str:
        """The position in a list: newest first, then by a hash of the keys."""
        milliseconds = (self.since - _EPOCH) // timedelta(milliseconds=1)
        digest = hashlib.sha256(f"{self.key.partition}/{self.key.row}".encode()).hexdigest()[:16]
        return f"{_LAST_MILLISECOND - milliseconds:013d}{digest}"


def fits_row(renditions: list[dict[str, Any]]) -> bool:
    """Return True if the facts of these renditions fit into a column, which holds 32 Ki UTF-16 units."""
    return len(json.dumps(renditions, ensure_ascii=False).encode("utf-16-le", "surrogatepass")) < 64_000


def int64(value: int) -> EntityProperty:
    """Return a 64-bit integer for a table; plain integers have 32 bits there."""
    return EntityProperty(value, EdmType.INT64)


def int64_value(stored: int | EntityProperty) -> int:
    """Return the integer of a table value; the inverse of `int64`."""
    return int(stored.value) if isinstance(stored, EntityProperty) else stored


def state_list_prefix(state: str) -> str:
    """Return the prefix of the row keys in the list of a state."""
    return f"{LIST_MARK}s{LIST_MARK}{state}{LIST_MARK}"


def run_list_prefix(run: str) -> str:
    """Return the prefix of the row keys in the list of a run."""
    return f"{LIST_MARK}r{LIST_MARK}{run}{LIST_MARK}"


def list_position(list_key: str) -> str:
    """Return the position of a list row; positions of different lists are comparable."""
    return list_key.rpartition(LIST_MARK)[2]


def position_at(moment: datetime) -> str:
    """Return the position of a moment in a list: all older entries follow it."""
    return f"{_LAST_MILLISECOND - (moment - _EPOCH) // timedelta(milliseconds=1):013d}"


def older_position(position: str, seconds: float) -> str:
    """Return the position that many seconds further down a list, towards older entries."""
    return f"{int(position[:13]) + round(seconds * 1000):013d}"
