"""Rows of the ledger: the row of a job, and its list rows, which list the job by state and by run."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Self, TypeVar, get_args

from pipeline.engine.revisions import decoder_revision
from pipeline.storage.deployment import is_older
from pipeline.storage.keys import JobKey, source_of
from pipeline.storage.row_columns import Columns, InvalidColumn, int64
from pipeline.storage.source_facts import SourceFacts

State = Literal["queued", "running", "done", "failed", "dismissed", "superseded"]
STATES: Final[tuple[State, ...]] = get_args(State)
T = TypeVar("T")
# A job that has been queued for longer than this may have lost its message.
STALE_AGE = timedelta(hours=1)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
# Row keys of lists begin with this mark. No row key of a source does, since a container's name begins with a letter or
# a digit, and the mark sorts behind those.
LIST_MARK = "~"
# Prefix of the row keys in the list of all jobs.
ALL_LIST_PREFIX = f"{LIST_MARK}a{LIST_MARK}"
# Partition, in place of a recipe, of unreadable queue messages that are recorded as failures.
UNREADABLE_PARTITION = "~unreadable"
# Kind of failure of a job whose row cannot be read.
UNREADABLE_ROW_KIND = "unreadable_row"
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
    "source_size",
    "content_md5",
    "source_metadata",
    "generation",
    "expires",
    "since",
    "run",
    "listed",
    "outputs",
    "error_service",
    "service_seconds",
    "service_runs",
    "deployment",
]
# Columns that list rows omit.
UNLISTED_COLUMNS = (
    "report",
    "listed",
    "former",
    "owner",
    "source_format",
    "decoder_revision",
    "service_runs",
    "source_size",
    "source_sha256",
    "content_md5",
    "source_metadata",
    "outputs",
)
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
    revision of its decoder when the job ended; both are empty if no session has opened the source. `source` holds the
    facts of the source that the job has sent to a session.

    `outputs` identify the renditions that the last done job has committed: a digest of the path and the ETag of each.

    `error_service` is the service whose fault the last error was (`pool`, `storage` or `identity`), and
    `service_seconds` the time that this version of the source has lost to such faults, up to the last attempt.
    `service_runs` counts the runs that have retried such a failure of this version.
    `former` are paths and ETags of the renditions of the last done job: while the job is under way, all of them; once
    it is done, those that it has replaced at other paths.

    `deployment` is the number of the newest deployment that has claimed or created the job.
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
    deployment: int = 0
    error_kind: str = ""
    error_class: str = ""
    error_message: str = ""
    error_tail: str = ""
    error_service: str = ""
    service_seconds: float = 0.0
    service_runs: int = 0
    stage: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    ms: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    renditions: list[dict[str, Any]] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)
    former: dict[str, str] = field(default_factory=dict)
    source: SourceFacts = field(default_factory=SourceFacts)
    outputs: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    changed: datetime | None = None
    row_etag: str = ""

    @classmethod
    def from_row(cls, row: Any) -> Self:  # noqa: ANN401 - an entity of the SDK, a mapping with metadata
        """Read a table entity: the row of a job, or one of its list rows.

        A row with an invalid value, such as after an edit by hand, is a failure of kind `unreadable_row`. A retry, or
        the next event of the source, replaces it.
        """
        columns = Columns(row)
        key = JobKey(row["PartitionKey"], str(row.get("job") or row["RowKey"]))
        try:
            entry = cls._read(key, columns)
        except InvalidColumn as error:
            entry = cls._unreadable(key, columns, error)
        return replace(entry, changed=row.metadata.get("timestamp"), row_etag=row.metadata["etag"])

    @classmethod
    def _read(cls, key: JobKey, columns: Columns) -> Self:
        """Return the entry of columns. Raises InvalidColumn."""
        state = columns.text("state")
        if state not in STATES:
            raise InvalidColumn(f"the column state holds {state[:60]!r}")
        return cls(
            key=key,
            container=columns.text("container", ""),
            name=columns.text("name", ""),
            state=state,
            version=Version(columns.text("source_etag"), columns.text("recipe_hash")),
            generation=columns.number("generation"),
            owner=columns.text("owner", ""),
            expires=columns.moment("expires"),
            since=columns.moment("since", LONG_AGO),
            run=columns.text("run", ""),
            attempts=columns.number("attempts", 0),
            source_format=columns.text("source_format", ""),
            decoder_revision=columns.number("decoder_revision", 0),
            deployment=columns.number("deployment", 0),
            error_kind=columns.text("error_kind", ""),
            error_class=columns.text("error_class", ""),
            error_message=columns.text("error_message", ""),
            error_tail=columns.text("error_tail", ""),
            error_service=columns.text("error_service", ""),
            service_seconds=columns.seconds("service_seconds"),
            service_runs=columns.number("service_runs", 0),
            stage=columns.text("stage", ""),
            bytes_in=columns.number("bytes_in", 0),
            bytes_out=columns.number("bytes_out", 0),
            ms=columns.numbers("ms"),
            versions=columns.document("versions"),
            renditions=columns.renditions("renditions"),
            report=columns.document("report"),
            former=columns.texts("former"),
            source=SourceFacts(
                columns.number("source_size", 0),
                columns.text("source_sha256", ""),
                columns.text("content_md5", ""),
                columns.text("source_metadata", ""),
            ),
            outputs=tuple(columns.text("outputs", "").split()),
            listed=tuple(columns.text("listed", "").split()),
        )

    @classmethod
    def _unreadable(cls, key: JobKey, columns: Columns, error: InvalidColumn) -> Self:
        """Return a failure with the columns that are valid, so that a claim can replace the row."""

        def valid(read: Callable[[], T], default: T) -> T:
            try:
                return read()
            except InvalidColumn:
                return default

        container, name = source_of(key) or ("", "")
        return cls(
            key=key,
            container=valid(lambda: columns.text("container"), container),
            name=valid(lambda: columns.text("name"), name),
            state="failed",
            version=Version("", ""),
            generation=valid(lambda: columns.number("generation"), 0),
            since=valid(lambda: columns.moment("since"), LONG_AGO),
            run=valid(lambda: columns.text("run"), ""),
            deployment=valid(lambda: columns.number("deployment"), 0),
            listed=tuple(valid(lambda: columns.text("listed"), "").split()),
            error_kind=UNREADABLE_ROW_KIND,
            error_class=InvalidColumn.__name__,
            error_message=f"the row in the ledger cannot be read: {error}; retry the job to replace the row",
            stage="ledger",
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
            "error_service": self.error_service,
            "stage": self.stage,
            **self.source.columns(),
            "outputs": " ".join(self.outputs),
        }
        numbers = {
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "deployment": self.deployment,
            "source_size": self.source.size,
        }
        documents = {
            "ms": self.ms,
            "versions": self.versions,
            "renditions": self.renditions,
            "report": self.report,
            "former": self.former,
        }
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
            **({"service_seconds": self.service_seconds} if self.service_seconds else {}),
            **({"service_runs": self.service_runs} if self.service_runs else {}),
            **{column: int64(number) for column, number in numbers.items() if number},
            **{column: json.dumps(each, ensure_ascii=False) for column, each in documents.items() if each},
        }

    @property
    def decoder_outdated(self) -> bool:
        """True if this process has a newer decoder for the source's format than the job had."""
        return decoder_revision(self.source_format) > self.decoder_revision

    def is_of_newer(self, deployment: int, recipe_hash: str) -> bool:
        """Return True if a deployment newer than `deployment` wrote this row with another recipe or a newer decoder."""
        if not is_older(deployment, self.deployment):
            return False
        return self.version.recipe_hash != recipe_hash or self.decoder_revision > decoder_revision(self.source_format)

    @property
    def is_running(self) -> bool:
        """True if a worker holds a claim that has not expired."""
        return self.state == "running" and self.expires > datetime.now(UTC)

    @property
    def claim_expired(self) -> bool:
        """True if a worker has claimed the job and its claim has expired: the worker has died, or is suspended."""
        return self.state == "running" and not self.is_running

    @property
    def is_active(self) -> bool:
        """True if a worker or a message takes care of the job, as far as its row tells."""
        return self.is_running or (self.state == "queued" and datetime.now(UTC) - self.since < STALE_AGE)

    def output_etag(self, path: str) -> str:
        """Return the ETag with which the last done job committed a rendition at this path; empty if it did not."""
        start = _path_digest(path)
        return next((output.removeprefix(start) for output in self.outputs if output.startswith(start)), "")

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


def outputs_of(renditions: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return the `outputs` of a row for the renditions of a done job."""
    return tuple(f"{_path_digest(one['path'])}{one['etag']}" for one in renditions if one.get("etag"))


def _path_digest(path: str) -> str:
    return f"{hashlib.sha256(path.encode()).hexdigest()[:16]}:"


def fits_row(renditions: list[dict[str, Any]]) -> bool:
    """Return True if the facts of these renditions fit into a column, which holds 32 Ki UTF-16 units."""
    return len(json.dumps(renditions, ensure_ascii=False).encode("utf-16-le", "surrogatepass")) < 64_000


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
