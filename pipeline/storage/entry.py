"""Row of a job in the ledger."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Self, TypeVar, get_args

from pipeline.engine.revisions import decoder_revision
from pipeline.storage.deployment import is_older
from pipeline.storage.keys import JobKey, source_of
from pipeline.storage.list_keys import position_at, state_list_prefix
from pipeline.storage.packed_documents import Documents, pack
from pipeline.storage.row_columns import Columns, InvalidColumn, int64
from pipeline.storage.source_facts import SourceFacts

State = Literal["queued", "running", "done", "failed", "dismissed", "superseded"]
STATES: Final[tuple[State, ...]] = get_args(State)
T = TypeVar("T")
STAGES = ("claim", "acquire", "upload", "execute", "download", "commit", "ledger")
"""The stages of a job in their order. Other times of a job are parts of these."""
# A job that has been queued for longer than this may have lost its message.
STALE_AGE = timedelta(hours=1)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
# Partition, in place of a recipe, of unreadable queue messages that are recorded as failures.
UNREADABLE_PARTITION = "~unreadable"
# Kind of failure of a job whose row cannot be read.
UNREADABLE_ROW_KIND = "unreadable_row"
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
# The column of the documents that no query reads.
_DOCUMENTS = "details"
# Renditions of a job have at most this size in a row, so that the report and the former renditions have room, too.
_MAX_PACKED_RENDITIONS = 28_000


@dataclass(frozen=True)
class Version:
    """The version of a job: the ETag of its source and the hash of its recipe."""

    etag: str
    recipe_hash: str


@dataclass(frozen=True)
class Summary:
    """What a list shows of a job that is done, in place of its stage times and its renditions.

    `ms` is the sum of its stages in milliseconds. `thumbnail` is the name of its smallest rendition, and `version` the
    beginning of the SHA-256 of that.
    """

    ms: int = 0
    renditions: int = 0
    version: str = ""
    thumbnail: str = ""

    @classmethod
    def of(cls, ms: Mapping[str, float], renditions: Sequence[Mapping[str, Any]]) -> Self:
        """Summarize stage times and renditions."""
        took = round(sum(ms.get(stage, 0) for stage in STAGES))
        smallest = min(renditions, key=lambda each: int(each.get("size", 0)), default={})
        return cls(took, len(renditions), str(smallest.get("sha256", ""))[:12], str(smallest.get("name", "")))


@dataclass(frozen=True)
class Entry:
    """A row of the ledger. Times are in UTC, sizes in bytes, and `ms` in milliseconds per stage.

    `generation` grows with every claim and is the fencing token. `expires` is the end of the claim. `since` is when the
    job entered its state. `run` is the last run that included the job. `listed` is the key of its list row, or empty.
    Entries of a list hold what a list shows, with a `summary` in place of times and renditions.

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
    listed: str = ""
    summary: Summary | None = None
    changed: datetime | None = None
    row_etag: str = ""

    @classmethod
    def from_row(cls, row: Any) -> Self:  # noqa: ANN401 - an entity of the SDK, a mapping with metadata
        """Read the table entity of a job.

        A row with an invalid value, such as after an edit by hand, is a failure of kind `unreadable_row`. A retry, or
        the next event of the source, replaces it.
        """
        columns = Columns(row)
        key = JobKey.of_row(row["PartitionKey"], row["RowKey"])
        try:
            entry = cls._read(key, columns)
        except InvalidColumn as error:
            entry = cls.unreadable(key, columns, error)
        return replace(entry, changed=row.metadata.get("timestamp"), row_etag=row.metadata["etag"])

    @classmethod
    def _read(cls, key: JobKey, columns: Columns) -> Self:
        """Return the entry of columns. Raises InvalidColumn."""
        state = columns.text("state")
        if state not in STATES:
            raise InvalidColumn(f"the column state holds {state[:60]!r}")
        documents = Documents(_DOCUMENTS, columns.data(_DOCUMENTS))
        ms, versions, report = documents.numbers("ms"), documents.mapping("versions"), documents.mapping("report")
        repeated = {name: facts for name, facts in (("versions", versions), ("ms", ms)) if facts}
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
            ms=ms,
            versions=versions,
            renditions=documents.renditions("renditions"),
            report={**report, **repeated} if report or state == "done" else {},
            former=documents.texts("former"),
            source=SourceFacts(
                columns.number("source_size", 0),
                documents.text("source_sha256"),
                columns.text("content_md5", ""),
                columns.text("source_metadata", ""),
            ),
            outputs=tuple(columns.text("outputs", "").split()),
            listed=columns.text("listed", ""),
        )

    @classmethod
    def unreadable(cls, key: JobKey, columns: Columns, error: InvalidColumn) -> Self:
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
            listed=valid(lambda: columns.text("listed"), ""),
            error_kind=UNREADABLE_ROW_KIND,
            error_class=InvalidColumn.__name__,
            error_message=f"the row in the ledger cannot be read: {error}; retry the job to replace the row",
            stage="ledger",
        )

    def to_row(self, partition: str) -> dict[str, Any]:
        """Return the table entity in a partition. Empty values have no column: every column costs bytes."""
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
            "listed": self.listed,
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
            "report": {name: facts for name, facts in self.report.items() if name not in ("ms", "versions")},
            "former": self.former,
            "source_sha256": self.source.sha256,
        }
        packed = pack(documents)
        return {
            "PartitionKey": partition,
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
            **{column: text for column, text in texts.items() if text},
            **({"decoder_revision": self.decoder_revision} if self.decoder_revision else {}),
            **({"service_seconds": self.service_seconds} if self.service_seconds else {}),
            **({"service_runs": self.service_runs} if self.service_runs else {}),
            **{column: int64(number) for column, number in numbers.items() if number},
            **({_DOCUMENTS: packed} if packed else {}),
        }

    @property
    def summarized(self) -> Summary:
        """The summary, also of an entry that is not of a list."""
        return self.summary or Summary.of(self.ms, self.renditions)

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

    @property
    def list_key(self) -> str:
        """The key of the list row that this entry needs: in the list of its state, newest first, then by a hash."""
        digest = hashlib.sha256(f"{self.key.group}/{self.key.row}".encode()).hexdigest()[:16]
        return f"{state_list_prefix(self.state)}{position_at(self.since)}{digest}"


def outputs_of(renditions: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return the `outputs` of a row for the renditions of a done job."""
    return tuple(f"{_path_digest(one['path'])}{one['etag']}" for one in renditions if one.get("etag"))


def _path_digest(path: str) -> str:
    return f"{hashlib.sha256(path.encode()).hexdigest()[:16]}:"


def fits_row(renditions: list[dict[str, Any]]) -> bool:
    """Return True if the facts of these renditions fit into a row, packed, and their `outputs` into a text column."""
    size = len(json.dumps(renditions, ensure_ascii=False).encode("utf-16-le", "surrogatepass"))
    return size < 64_000 and len(pack({"renditions": renditions})) < _MAX_PACKED_RENDITIONS
