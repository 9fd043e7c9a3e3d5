"""Error tree of the pipeline.

    PipelineError
    ├── ConfigError             a setting or the recipe file is invalid; the app refuses it at its start
    ├── PermanentError          a retry gives the same result: a failure, recorded with its reason
    │   ├── SourceError         the source is not an allowed image, is damaged, or exceeds a limit
    │   ├── RecipeError         the recipe is unknown, or does not apply to this source
    │   ├── Unreadable          this version of the app cannot read a queue message or a stored run
    │   ├── SessionReplyError   the session's response differs from the declared output
    │   └── OutputError         a rendition cannot be committed at the recipe's path
    ├── TransientError          a retry may succeed
    │   ├── SessionLost         the session ended, was replaced or stopped during the job
    │   ├── BlobUnavailable     storage refuses one blob for now, such as one that another program leases
    │   ├── PoolUnavailable     the session pool does not respond, throttles, or refuses all calls
    │   ├── StorageUnavailable  the storage account does not respond, throttles, or refuses all calls
    │   │   └── StorageNotFound a container, queue or table of the pipeline does not exist
    │   └── IdentityUnavailable no token is available; storage and pool raise it as their own error
    ├── RequestError            a request is invalid or not possible
    │   ├── InvalidCursor       the cursor of a page is invalid
    │   └── StateConflict       the state of the job or run does not allow the action
    ├── JobPaused               operators have paused this kind of work; the job is requeued, and this is not an attempt
    │   └── CostCapReached      no session may start, because of a cap on the cost
    ├── PoolFull                no session is free; the job is requeued, and this is not an attempt
    ├── SourceChanged           the source changed during the job; its current version is processed instead
    ├── JobSuperseded           the source is gone, or another worker has taken the job over
    └── OutdatedDeployment      only a newer deployment of the app may process the job, the run or the request

Every message names the problem, the object and the remedy. `kind` is a short, stable word for programs: the ledger, API
responses and log events contain it.

A TransientError with a `service` is a *service fault*: no image causes it, so it uses up no attempts. Any other
TransientError may be the fault of one image, blob or session, and its attempts are counted.
"""

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
    "unknown_rendition": (404, "Rendition not found"),
    "method_not_allowed": (405, "Method not allowed"),
    "not_acceptable": (406, "Not acceptable"),
    "unreadable_run": (409, "Run of another version"),
    "unreadable_plan": (409, "Plan of another version"),
    "slot_cools_down": (409, "Session cannot be ended"),
    "length_required": (411, "Length required"),
    "folder_marker": (422, "Not an image"),
    "body_too_large": (413, "Request too large"),
    "unsupported_media_type": (415, "Unsupported media type"),
    "unsupported_content_encoding": (415, "Unsupported content encoding"),
    "over_cap": (422, "Limit exceeded"),
    "cap_below_hour": (422, "Limit exceeded"),
    "no_cost_cap": (422, "No cap on the cost"),
    "key_reused": (422, "Idempotency key reused"),
    "response_too_large": (422, "Image too large for a response"),
    "timeout": (504, "Timeout"),
}


class PipelineError(Exception):
    """Root of all errors that the pipeline raises on purpose. A subclass gives its `kind` and `http` as keywords.

    Attributes:
        message: The problem, the object and the remedy.
        kind: A stable word for programs.
        stderr_tail: The end of the session's standard error; empty if no session was involved.
    """

    default_kind: ClassVar[str] = "error"
    source_format: str = ""
    """The format of the source (Pillow's name), where a session has detected it before the error."""
    http: ClassVar[tuple[int, str]] = (500, "Internal error")
    """HTTP status and title of a response about the error, unless HTTP_BY_KIND names others for its kind."""

    def __init_subclass__(cls, *, kind: str | None = None, http: tuple[int, str] | None = None) -> None:
        """Set the kind, and the HTTP status and title, unless they are those of the base."""
        cls.default_kind = kind or cls.default_kind
        cls.http = http or cls.http

    def __init__(self, message: str, *, kind: str | None = None, stderr_tail: str = "") -> None:
        """Use the class's own kind unless `kind` names another one."""
        super().__init__(message)
        self.message = message
        self.kind = kind or self.default_kind
        self.stderr_tail = stderr_tail

    @property
    def status_and_title(self) -> tuple[int, str]:
        """HTTP status and title of a response about this error, by its kind, else by its class."""
        return HTTP_BY_KIND.get(self.kind, self.http)


class ConfigError(PipelineError, kind="configuration", http=(503, "Invalid configuration")):
    """A setting or the recipe file is invalid; the message lists every problem."""


class PermanentError(PipelineError, kind="permanent", http=(422, "Image cannot be processed")):
    """A retry gives the same result."""


class SourceError(PermanentError, kind="bad_source"):
    """The source is not an allowed image, is damaged, or exceeds a limit."""


class RecipeError(PermanentError, kind="bad_recipe", http=(422, "Recipe cannot be used")):
    """The recipe is unknown, or does not apply to this source (for example, a crop outside the image)."""


class Unreadable(PermanentError, kind="bad_message"):  # noqa: N818 - named after the unreadable object
    """This version of the app cannot read a queue message or a stored run: a newer one may."""


class SessionReplyError(PermanentError, kind="bad_session_reply"):
    """The session's report or a rendition differs from the declared output."""


class OutputError(PermanentError, kind="output_conflict", http=(409, "Output path conflict")):
    """A rendition cannot be committed at the recipe's path."""


class TransientError(PipelineError, kind="transient", http=(503, "Service unavailable")):
    """A retry may succeed.

    Attributes:
        dependency: The service that refused or failed: `pool`, `storage` or `identity`; empty if this image, blob or
            session may be the cause.
        bounded: Whether the cause is unknown, so that attempts are counted although a service refused the call.
        retry_after: The delay in seconds that the service requested, or None.
    """

    default_dependency: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        kind: str | None = None,
        stderr_tail: str = "",
        retry_after: float | None = None,
        dependency: str | None = None,
        bounded: bool = False,
    ) -> None:
        """Accept the arguments of PipelineError and the attributes. Use the class's own dependency by default."""
        super().__init__(message, kind=kind, stderr_tail=stderr_tail)
        self.retry_after = retry_after
        self.dependency = self.default_dependency if dependency is None else dependency
        self.bounded = bounded

    @property
    def service(self) -> str:
        """The dependency whose fault this is (a service fault); empty if attempts are counted."""
        return "" if self.bounded else self.dependency


class SessionLost(TransientError, kind="session_lost"):  # noqa: N818 - a state of the session, as operators call it
    """The session ended, was replaced by an empty one, or stopped during the job."""


class BlobUnavailable(TransientError, kind="blob_busy", http=(409, "Blob not available")):  # noqa: N818
    """Storage refuses one blob for now: another program leases it or is writing it."""


class PoolUnavailable(TransientError, kind="pool_unavailable"):  # noqa: N818
    """The session pool does not respond, throttles, or refuses all calls."""

    default_dependency = "pool"


class StorageUnavailable(TransientError, kind="storage_unavailable"):  # noqa: N818
    """The storage account does not respond, throttles, or refuses all calls."""

    default_dependency = "storage"


class StorageNotFound(StorageUnavailable, kind="storage_not_found"):
    """A container, queue or table of the pipeline does not exist, or is being deleted."""


class IdentityUnavailable(TransientError, kind="identity_unavailable"):  # noqa: N818
    """No token is available. Storage and pool raise it as their own error, with the same `kind` and `dependency`."""

    default_dependency = "identity"


class PoolFull(PipelineError, kind="pool_full", http=(503, "No free session")):  # noqa: N818
    """No session is free: the job is requeued, and this is not an attempt (backpressure).

    `retry_after` is the delay in seconds that the pool requested, or None.
    """

    def __init__(self, message: str, *, kind: str | None = None, retry_after: float | None = None) -> None:
        """Accept the arguments of PipelineError and the delay that the pool requested."""
        super().__init__(message, kind=kind)
        self.retry_after = retry_after


class JobPaused(PipelineError, kind="paused", http=(503, "Paused")):  # noqa: N818
    """Operators have paused this kind of work: the job is requeued, and this is not an attempt.

    `retry_after` is the delay in seconds before the job returns.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        """Create the error with its delay."""
        super().__init__(message)
        self.retry_after = retry_after


class CostCapReached(JobPaused, kind="cost_cap", http=(503, "Cost cap reached")):
    """An hour of a session would pass a cap on the cost: that of the month, or that of `run`, which pauses then."""

    def __init__(self, message: str, retry_after: float, run: str = "") -> None:
        """Create the error with its delay, and with the run whose own cap is reached, if it is one."""
        super().__init__(message, retry_after)
        self.run = run


class JobSuperseded(PipelineError, kind="superseded", http=(409, "Source changed")):  # noqa: N818
    """The source is gone, or another worker has taken the job over."""


class SourceChanged(PipelineError, kind="source_changed", http=(409, "Source changed")):  # noqa: N818
    """The source changed during the job: its current version is processed instead, and this is not an attempt."""


class OutdatedDeployment(PipelineError, kind="outdated_deployment", http=(503, "Outdated deployment")):  # noqa: N818
    """Only a newer deployment of the app may process the job, the run or the request."""


class RequestError(PipelineError, kind="bad_request", http=(400, "Invalid request")):
    """A request is invalid or not possible; the message names the remedy."""


class InvalidCursor(RequestError, kind="invalid_cursor"):  # noqa: N818 - named after the invalid object
    """The cursor of a page is invalid."""


class StateConflict(RequestError, kind="state_conflict", http=(409, "State conflict")):  # noqa: N818
    """The state of the job or run does not allow the action."""


def is_about_one_blob(error: PipelineError) -> bool:
    """Return True if storage refuses a blob that exists, such as an archived one, and not the app as a whole."""
    return isinstance(error, PermanentError) or (isinstance(error, TransientError) and not error.service)
