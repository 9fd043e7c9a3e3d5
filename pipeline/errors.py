"""Error tree of the pipeline, with the HTTP status and the title of each class.

    PipelineError
    ├── ConfigError             a setting or the recipe file is invalid
    ├── PermanentError          a retry gives the same result: recorded as a failure with its reason
    │   ├── SourceError         the source is not an allowed image, is damaged, or exceeds a limit
    │   ├── RecipeError         the recipe is unknown, or cannot be applied to this source
    │   ├── SessionReplyError   the session returned something that the job does not expect
    │   └── OutputError         a rendition cannot be committed under its path
    ├── TransientError          a retry may succeed
    │   ├── SessionLost         the session ended, was replaced or stopped in the middle of the job
    │   ├── PoolUnavailable     the session pool does not respond in time
    │   ├── StorageUnavailable  the storage account does not respond in time
    │   └── IdentityUnavailable there is no token; storage and pool translate it into their own error
    ├── RequestError            a request is invalid
    │   ├── InvalidCursor       the cursor of a list is invalid
    │   └── StateConflict       the state of the job or run does not allow the action
    ├── PoolFull                no session is free: backpressure, neither a failure nor an attempt
    └── JobSuperseded           the source has changed or is gone, or another worker holds the claim

A message says what happened and what to do. `kind` is a short stable identifier for the ledger, responses and logs.
"""

from __future__ import annotations

from typing import ClassVar

# HTTP status and title of the kinds that differ from their class.
HTTP_BY_KIND: dict[str, tuple[int, str]] = {
    "adhoc_not_allowed": (403, "Not allowed by the settings"),
    "not_found": (404, "Not found"),
    "source_gone": (404, "Source not found"),
    "rendition_gone": (404, "Rendition not found"),
    "unknown_recipe": (404, "Recipe not found"),
    "unknown_job": (404, "Job not found"),
    "unknown_slot": (404, "Slot not found"),
    "unknown_run": (404, "Run not found"),
    "unknown_plan": (404, "Plan not found"),
    "method_not_allowed": (405, "Method not allowed"),
    "slot_cools_down": (409, "Session cannot be ended"),
    "body_too_large": (413, "Request too large"),
    "unsupported_media_type": (415, "Unsupported media type"),
    "over_cap": (422, "Limit exceeded"),
    "key_reused": (422, "Idempotency key reused"),
    "response_too_large": (422, "Image too large for a response"),
    "timeout": (504, "Timeout"),
}


class PipelineError(Exception):
    """Base of all errors that the pipeline raises. `stderr_tail` is the end of the session's error output."""

    default_kind: ClassVar[str] = "error"
    http: ClassVar[tuple[int, str]] = (500, "Internal error")

    def __init__(self, message: str, *, kind: str | None = None, stderr_tail: str = "") -> None:
        """Set the message and, where it differs from the class's own, the kind."""
        super().__init__(message)
        self.message = message
        self.kind = kind or self.default_kind
        self.stderr_tail = stderr_tail

    @property
    def status_and_title(self) -> tuple[int, str]:
        """HTTP status and title of a response about this error, by its kind, else by its class."""
        return HTTP_BY_KIND.get(self.kind, self.http)


class ConfigError(PipelineError):
    """A setting or the recipe file is invalid; the message lists every problem."""

    default_kind = "configuration"
    http = (503, "Invalid configuration")


class PermanentError(PipelineError):
    """A retry gives the same result."""

    default_kind = "permanent"
    http = (422, "Image cannot be processed")


class SourceError(PermanentError):
    """The source is not an allowed image, is damaged, or exceeds a limit."""

    default_kind = "bad_source"


class RecipeError(PermanentError):
    """The recipe is unknown, or cannot be applied to this source (for example, a crop outside the image)."""

    default_kind = "bad_recipe"
    http = (422, "Recipe cannot be used")


class SessionReplyError(PermanentError):
    """The session's report or a rendition differs from its declaration."""

    default_kind = "bad_session_reply"


class OutputError(PermanentError):
    """A rendition cannot be committed under its path."""

    default_kind = "output_conflict"
    http = (409, "Output path conflict")


class TransientError(PipelineError):
    """A retry may succeed. `retry_after` is the delay in seconds that the service requested."""

    default_kind = "transient"
    http = (503, "Service unavailable")

    def __init__(
        self, message: str, *, kind: str | None = None, stderr_tail: str = "", retry_after: float | None = None
    ) -> None:
        """Set the message, the kind and the requested delay in seconds."""
        super().__init__(message, kind=kind, stderr_tail=stderr_tail)
        self.retry_after = retry_after


class SessionLost(TransientError):  # noqa: N818 - a state of the session, as operators call it
    """The session ended, was replaced by an empty one, or stopped during the job."""

    default_kind = "session_lost"


class PoolUnavailable(TransientError):  # noqa: N818
    """The session pool does not respond in time."""

    default_kind = "pool_unavailable"


class StorageUnavailable(TransientError):  # noqa: N818
    """The storage account does not respond in time."""

    default_kind = "storage_unavailable"


class IdentityUnavailable(TransientError):  # noqa: N818
    """There is no token. Storage and pool translate it into their own error of the same `kind`."""

    default_kind = "identity_unavailable"


class PoolFull(PipelineError):  # noqa: N818
    """No session is free. Backpressure: the job waits; this is neither a failure nor an attempt."""

    default_kind = "pool_full"
    http = (503, "No free session")


class JobSuperseded(PipelineError):  # noqa: N818
    """The source has changed or is gone, or another worker holds the claim."""

    default_kind = "superseded"
    http = (409, "Source changed")


class RequestError(PipelineError):
    """A request is invalid; the message says what to change."""

    default_kind = "bad_request"
    http = (400, "Invalid request")


class InvalidCursor(RequestError):  # noqa: N818 - named as what it is about
    """The cursor of a list is invalid."""

    default_kind = "invalid_cursor"


class StateConflict(RequestError):  # noqa: N818
    """The state of the job or run does not allow the action."""

    default_kind = "state_conflict"
    http = (409, "State conflict")
