"""Row keys of the ledger's lists: by state, newest first."""

from datetime import UTC, datetime, timedelta

# Row keys of lists begin with this mark. No row key of a source does, since a container's name begins with a letter or
# a digit, and the mark sorts behind those.
LIST_MARK = "~"
# Lists are sorted newest first: a position counts down from this time in milliseconds, with 13 digits until 2286.
_LAST_MILLISECOND = 9_999_999_999_999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def state_list_prefix(state: str) -> str:
    """Return the prefix of the row keys in the list of a state."""
    return f"{LIST_MARK}s{LIST_MARK}{state}{LIST_MARK}"


def state_of(list_key: str) -> str:
    """Return the state whose list has this row key."""
    return list_key.split(LIST_MARK)[2]


def list_position(list_key: str) -> str:
    """Return the position of a list row; positions of different lists are comparable."""
    return list_key.rpartition(LIST_MARK)[2]


def position_at(moment: datetime) -> str:
    """Return the position of a moment in a list: all older entries follow it."""
    return f"{_LAST_MILLISECOND - (moment - _EPOCH) // timedelta(milliseconds=1):013d}"


def is_position(text: str) -> bool:
    """Return True if a text begins like a position in a list."""
    return len(text) >= 13 and text[:13].isdecimal() and text.isascii()


def older_position(position: str, seconds: float) -> str:
    """Return the position that many seconds further down a list, towards older entries."""
    return f"{min(int(position[:13]) + round(seconds * 1000), _LAST_MILLISECOND):013d}"
