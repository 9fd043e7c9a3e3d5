"""List rows: each job has one in the list of its state, with what a list shows."""

from typing import Any

from pipeline.storage.entry import LONG_AGO, Entry, Summary, Version
from pipeline.storage.keys import JobKey, source_of
from pipeline.storage.list_keys import state_of
from pipeline.storage.row_columns import Columns, InvalidColumn, int64

# A list shows the beginning of a message. The job's own row holds all of it.
MAX_MESSAGE_CHARACTERS, MAX_TAIL_CHARACTERS = 1000, 500
_TEXTS = ("run", "error_kind", "error_class", "error_service", "stage")


def list_row(entry: Entry, partition: str) -> dict[str, Any]:
    """Return the list row of a job in a partition.

    It omits what its keys tell: the state, and the source unless its name is cut.
    """
    key, source = entry.key, (entry.container, entry.name)
    message, tail = entry.error_message[:MAX_MESSAGE_CHARACTERS], entry.error_tail[-MAX_TAIL_CHARACTERS:]
    texts = {name: getattr(entry, name) for name in _TEXTS}
    texts |= {"error_message": message, "error_tail": tail, "summary": _packed(entry)}
    numbers = {"bytes_in": entry.bytes_in, "bytes_out": entry.bytes_out}
    return {
        "PartitionKey": partition,
        "RowKey": entry.list_key,
        "job": key.row,
        "since": entry.since,
        **({} if source_of(key) == source else {"container": entry.container, "name": entry.name}),
        **({"expires": entry.expires} if entry.state == "running" else {}),
        **({"attempts": entry.attempts} if entry.attempts != 1 else {}),
        **({"service_seconds": entry.service_seconds} if entry.service_seconds else {}),
        **{name: text for name, text in texts.items() if text},
        **{name: int64(number) for name, number in numbers.items() if number},
    }


def listed_key(row: Any) -> JobKey:  # noqa: ANN401 - an entity of the SDK
    """Return the key of the job of a list row."""
    return JobKey.of_row(row["PartitionKey"], str(row.get("job") or row["RowKey"]))


def listed_source(key: JobKey, columns: Columns) -> tuple[str, str]:
    """Return container and name of the source of a list row. Raises InvalidColumn."""
    container, name = source_of(key) or ("", "")
    return columns.text("container", container), columns.text("name", name)


def listed_entry(row: Any) -> Entry:  # noqa: ANN401 - an entity of the SDK
    """Read a list row. One with an invalid value is a failure of kind `unreadable_row`."""
    columns, key = Columns(row), listed_key(row)
    try:
        container, name = listed_source(key, columns)
        texts: dict[str, Any] = {each: columns.text(each, "") for each in _TEXTS}
        return Entry(
            key=key,
            container=container,
            name=name,
            state=state_of(row["RowKey"]),  # type: ignore[arg-type]  # only states have lists
            version=Version("", ""),
            since=columns.moment("since"),
            attempts=columns.number("attempts", 1),
            service_seconds=columns.seconds("service_seconds"),
            bytes_in=columns.number("bytes_in", 0),
            bytes_out=columns.number("bytes_out", 0),
            error_message=columns.text("error_message", ""),
            error_tail=columns.text("error_tail", ""),
            summary=_unpacked(columns.text("summary", "")),
            listed=row["RowKey"],
            expires=columns.moment("expires", LONG_AGO),
            **texts,
        )
    except InvalidColumn as error:
        return Entry.unreadable(key, columns, error)


def _packed(entry: Entry) -> str:
    if entry.state != "done":
        return ""
    summary = entry.summarized
    return f"{summary.ms} {summary.renditions} {summary.version or '-'} {summary.thumbnail}"


def _unpacked(text: str) -> Summary:
    if not text:
        return Summary()
    try:
        ms, renditions, version, thumbnail = text.split(" ", 3)
        return Summary(int(ms), int(renditions), version.removeprefix("-"), thumbnail)
    except ValueError:
        raise InvalidColumn(f"the column summary holds {text[:60]!r}") from None
