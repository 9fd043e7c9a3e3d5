"""A row of the ledger, and the rows beside it under which the job is listed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Self, get_args

from azure.data.tables import EdmType, EntityProperty

from pipeline.engine.revisions import decoder_revision
from pipeline.storage.keys import JobKey

State = Literal["queued", "running", "done", "failed", "dismissed", "superseded"]
STATES: Final = get_args(State)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
# No source's row key starts with it, and it sorts behind all of them: container names are letters, digits and hyphens.
LIST = "~"
# What the row keys of the list of all jobs start with.
ALL = f"{LIST}a{LIST}"
# In place of a recipe: what was in a queue and cannot be understood, kept as a failure.
UNREADABLE = "~unreadable"
# Newest first: what is counted down from, in milliseconds; 13 digits until the year 2286.
_END = 9_999_999_999_999
# What planning needs to know of a row; the rest is left where it is.
BRIEF = [
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
# What of a row the rows beside it leave out.
NOT_LISTED = ("report", "listed", "owner", "source_format", "decoder_revision")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Version:
    """What a job is about: one version of the source under one form of the recipe."""

    etag: str
    recipe_hash: str


@dataclass(frozen=True)
class Entry:
    """One row. Times are UTC, sizes in bytes, `ms` milliseconds per stage; `report` is as the job left it.

    `since` is when the state was entered: for a job that is done, when that was. `run` is the last run that the job
    was part of. `listed` are the row keys under which it is listed now. Entries of a list come without `report`.
    `source_format` is the format of the source as the session detected it (Pillow's name), and `decoder_revision` the
    revision of its decoder when the job ended; both are empty where no session has opened the source.
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
        """Read a table entity: the job's own row, or one that lists it."""
        # The service gives null for a column that was asked for and is not there.
        there = {column: value for column, value in row.items() if value is not None}
        return cls(
            key=JobKey(there["PartitionKey"], there.get("job") or there["RowKey"]),
            container=there.get("container", ""),
            name=there.get("name", ""),
            state=there["state"],
            version=Version(there["source_etag"], there["recipe_hash"]),
            generation=number(there["generation"]),
            owner=there.get("owner", ""),
            expires=there["expires"],
            since=there.get("since", LONG_AGO),
            run=there.get("run", ""),
            attempts=there.get("attempts", 0),
            source_format=there.get("source_format", ""),
            decoder_revision=there.get("decoder_revision", 0),
            error_kind=there.get("error_kind", ""),
            error_class=there.get("error_class", ""),
            error_message=there.get("error_message", ""),
            error_tail=there.get("error_tail", ""),
            stage=there.get("stage", ""),
            bytes_in=number(there.get("bytes_in", 0)),
            bytes_out=number(there.get("bytes_out", 0)),
            ms=json.loads(there.get("ms", "{}")),
            versions=json.loads(there.get("versions", "{}")),
            renditions=json.loads(there.get("renditions", "[]")),
            report=json.loads(there.get("report", "{}")),
            listed=tuple(there.get("listed", "").split()),
            changed=row.metadata.get("timestamp"),
            row_etag=row.metadata["etag"],
        )

    def to_row(self) -> dict[str, Any]:
        """Write a table entity. What is empty has no column: every column costs, in three rows a job."""
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
            "generation": large(self.generation),
            "owner": self.owner,
            "expires": self.expires,
            "since": self.since,
            "attempts": self.attempts,
            "listed": " ".join(self.listed),
            **{column: text for column, text in texts.items() if text},
            **({"decoder_revision": self.decoder_revision} if self.decoder_revision else {}),
            **{column: large(size) for column, size in sizes.items() if size},
            **{column: json.dumps(each, ensure_ascii=False) for column, each in documents.items() if each},
        }

    @property
    def decoder_outdated(self) -> bool:
        """True when this code has a newer decoder for the source's format than the job had."""
        return decoder_revision(self.source_format) > self.decoder_revision

    @property
    def is_running(self) -> bool:
        """Whether somebody is on it, as far as the claim tells."""
        return self.state == "running" and self.expires > datetime.now(UTC)

    def list_keys(self) -> tuple[str, ...]:
        """The row keys under which this entry is to be listed: among those of its state, among all, by its run."""
        starts = (list_start(self.state), ALL, *([run_start(self.run)] if self.run else []))
        return tuple(start + self._place for start in starts)

    def list_row(self, key: str) -> dict[str, Any]:
        """The row that lists this entry under `key`."""
        row = {**self.to_row(), "RowKey": key, "job": self.key.row}
        return {column: value for column, value in row.items() if column not in NOT_LISTED}

    @property
    def _place(self) -> str:
        """Where it stands in a list: newest first, then in an order of its own."""
        passed = (self.since - _EPOCH) // timedelta(milliseconds=1)
        told_apart = hashlib.sha256(f"{self.key.partition}/{self.key.row}".encode()).hexdigest()[:16]
        return f"{_END - passed:013d}{told_apart}"


def can_be_kept(renditions: list[dict[str, Any]]) -> bool:
    """Whether a row holds what is told of these: a column has 32 Ki characters (of UTF-16)."""
    return len(json.dumps(renditions, ensure_ascii=False).encode("utf-16-le", "surrogatepass")) < 64_000


def large(value: int) -> EntityProperty:
    """A number as a table keeps it where it may need more than the 32 bits that numbers have unless told otherwise."""
    return EntityProperty(value, EdmType.INT64)


def number(kept: int | EntityProperty) -> int:
    """The inverse of `large`."""
    return int(kept.value) if isinstance(kept, EntityProperty) else kept


def list_start(state: str) -> str:
    """What the row keys of a state's list start with."""
    return f"{LIST}s{LIST}{state}{LIST}"


def run_start(run: str) -> str:
    """What the row keys of a run's list start with."""
    return f"{LIST}r{LIST}{run}{LIST}"


def place_of(list_key: str) -> str:
    """Where a row of a list stands in it: comparable between lists."""
    return list_key.rpartition(LIST)[2]


def place_before(moment: datetime) -> str:
    """The place in a list, newest first, behind which stands what is older than `moment`."""
    return f"{_END - (moment - _EPOCH) // timedelta(milliseconds=1):013d}"


def place_later(place: str, seconds: float) -> str:
    """The place so many seconds further down a list, towards what is older."""
    return f"{int(place[:13]) + round(seconds * 1000):013d}"
