"""The error tree of the pipeline.

    PipelineError
    ├── ConfigError            a setting or the recipe file is wrong; refused when it is loaded
    ├── PermanentError         doing it again gives the same: a failure, recorded with its reason
    │   ├── SourceError        the source is not an image that is allowed, or is over a limit
    │   ├── RecipeError        the recipe is unknown, or cannot apply to this source
    │   ├── SessionReplyError  the session answered with something that was not asked for
    │   └── OutputError        a rendition cannot be committed where the recipe says
    ├── TransientError         doing it again may help
    │   ├── SessionLost        the session ended, was replaced or stopped in the middle of the job
    │   ├── PoolUnavailable    the session pool does not answer, or not in time
    │   ├── StorageUnavailable the storage account does not answer, or not in time
    │   └── IdentityUnavailable there is no token to be had; comes as one of the two above, for whichever asked
    ├── RequestError           what was asked for cannot be done as it was asked
    │   ├── BadToken           a list is to go on from a place that it never named
    │   └── NotNow             the job or the run is not in a state in which that can be done
    ├── PoolFull               no session is free: neither a failure nor a try, the job waits its turn
    └── JobSuperseded           the job is not ours any more: its source changed or went, or another process has it

Every message says what happened and what to change. `kind` is a short stable word for machines: it goes into the
ledger, into answers and into logs.
"""

from __future__ import annotations

from typing import ClassVar


class PipelineError(Exception):
    """The root: everything that the pipeline raises on purpose. `said` is the end of what a session printed."""

    default_kind: ClassVar[str] = "error"
    source_format: str = ""
    """The format of the source (Pillow's name), where a session has detected it before the error."""

    def __init__(self, message: str, *, kind: str | None = None, said: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind or self.default_kind
        self.said = said


class ConfigError(PipelineError):
    """A setting or the recipe file is wrong; the message lists every problem found."""

    default_kind = "configuration"


class PermanentError(PipelineError):
    """Doing it again gives the same result."""

    default_kind = "permanent"


class SourceError(PermanentError):
    """The source is not an image that is allowed, is damaged, or is over a limit."""

    default_kind = "bad_source"


class RecipeError(PermanentError):
    """The recipe is unknown, or cannot apply to this source (a crop outside the image, for one)."""

    default_kind = "bad_recipe"


class SessionReplyError(PermanentError):
    """The session's report or a rendition does not hold what was declared."""

    default_kind = "bad_session_reply"


class OutputError(PermanentError):
    """A rendition cannot be committed where the recipe says."""

    default_kind = "output_conflict"


class TransientError(PipelineError):
    """Doing it again may help. `retry_after` is what the other side asked for, in seconds."""

    default_kind = "transient"

    def __init__(
        self, message: str, *, kind: str | None = None, said: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message, kind=kind, said=said)
        self.retry_after = retry_after


class SessionLost(TransientError):  # noqa: N818 - a state of the session, named as operators speak of it
    """The session ended, was replaced by an empty one, or stopped in the middle of the job."""

    default_kind = "session_lost"


class PoolUnavailable(TransientError):  # noqa: N818
    """The session pool does not answer, or not in time."""

    default_kind = "pool_unavailable"


class StorageUnavailable(TransientError):  # noqa: N818
    """The storage account does not answer, or not in time."""

    default_kind = "storage_unavailable"


class IdentityUnavailable(TransientError):  # noqa: N818
    """There is no token to be had. Storage and pool turn it into their own, of the same `kind`."""

    default_kind = "identity_unavailable"


class PoolFull(PipelineError):  # noqa: N818
    """No session is free. Not a failure and not a try: the job waits its turn."""

    default_kind = "pool_full"


class JobSuperseded(PipelineError):  # noqa: N818
    """The job is not ours any more: its source changed or went, or another process has it."""

    default_kind = "superseded"


class RequestError(PipelineError):
    """What was asked for cannot be done as it was asked; the message says what to change."""

    default_kind = "bad_request"


class InvalidCursor(RequestError):  # noqa: N818 - named as what it is about
    """A list is to go on from a place that it never named."""

    default_kind = "invalid_cursor"


class StateConflict(RequestError):  # noqa: N818
    """The job or the run is not in a state in which that can be done."""

    default_kind = "state_conflict"
