"""Settings: environment variable, default, bounds and description of each.

The environment variable `PIPELINE_MAX_PIXELS` sets the field `max_pixels`. The storage account follows the convention
of Azure Functions for a connection named `IMAGES`. Either `IMAGES` is a connection string (the emulator), or
`IMAGES__blobServiceUri`, `IMAGES__queueServiceUri` and `IMAGES__tableServiceUri` are the service endpoints and a
managed identity authenticates (`IMAGES__clientId` for a user-assigned one).

A request cannot change any setting.
"""

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from pipeline.engine.protocol import Limits
from pipeline.engine.revisions import DECODERS
from pipeline.errors import ConfigError
from pipeline.settings.resource_names import ContainerName, OutputContainerName, QueueName
from pipeline.settings.storage_account import CONNECTION, StorageAccount
from pipeline.telemetry import logger

__all__ = [
    "APP_FOLDER",
    "CONNECTION",
    "LOOPBACK",
    "MIB",
    "PLATFORM_AUTH_VARIABLE",
    "PREFIX",
    "Settings",
    "StorageAccount",
    "variable",
]

log = logger(__name__)

PREFIX = "PIPELINE_"
APP_FOLDER = Path(__file__).parents[2]
# The platform tells the app with it if App Service authentication is on. Its own host reads the same variable to decide
# if it removes X-MS-CLIENT-PRINCIPAL from the requests of clients.
PLATFORM_AUTH_VARIABLE = "WEBSITE_AUTH_ENABLED"
LOOPBACK = {"127.0.0.1", "localhost", "::1"}

MIB = 1024 * 1024


class Settings(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """All settings except the storage account. Units: seconds, bytes, and pixels summed over all frames."""

    recipes: Path = Field(Path("recipes.yaml"), description="Path of the recipe file, relative to the app's folder.")
    input_container: ContainerName = Field("input", description="Container for uploaded sources.")
    output_container: OutputContainerName = Field(
        "output", description="Container for renditions; `$web` publishes them as the web site of the storage account."
    )
    upload_container: ContainerName = Field(
        "uploads", description="Container for images that are uploaded with an HTTP request."
    )
    asset_container: ContainerName = Field("assets", description="Container of the images and fonts that recipes use.")
    state_container: ContainerName = Field(
        "pipeline", description="Container for internal state: the slots of the session pool."
    )
    dead_letter_container: ContainerName = Field(
        "deadletters", description="Container in which Event Grid stores undelivered events."
    )
    event_subscription: str = Field(
        "image-uploaded",
        pattern=r"^[A-Za-z0-9-]{3,64}$",
        description="Event Grid subscription whose undelivered events become jobs.",
    )
    job_queue: QueueName = Field(
        "jobs", description="Queue for waiting jobs: retries, and jobs delayed by a full pool."
    )
    ledger_table: str = Field(
        "ledger", pattern=r"^[A-Za-z][A-Za-z0-9]{2,62}$", description="Table of the ledger: one row per job."
    )
    run_queue: QueueName = Field("runs", description="Queue for bulk runs, separate from the job queue.")
    run_table: str = Field(
        "runs", pattern=r"^[A-Za-z][A-Za-z0-9]{2,62}$", description="Table of plans and runs, and their progress."
    )
    allow_code: bool = Field(False, description="Allow recipes with user code (Python).")
    adhoc_recipes: Literal["off", "on", "code"] = Field(
        "off",
        description="Allow ad-hoc recipes in requests: off, on, or code (with user code too, which also needs "
        "`allow_code`).",
    )
    code_folder: Path | None = Field(None, description="Folder of Python modules that recipes may name as user code.")
    schedule: str = Field("0 0 3 * * *", description="Schedule of the scheduled run (NCRONTAB, six fields, UTC).")
    schedule_reasons: str = Field(
        "new,changed,etag_changed,recipe_changed,unfinished,service_failed",
        description="Reasons for which the scheduled run selects jobs; see `image-pipeline plan --help`.",
    )
    schedule_prefix: str = Field(
        "", description="Prefix of source names; the scheduled run selects only these sources."
    )
    schedule_max_jobs: int = Field(10_000, ge=1, le=100_000_000, description="Maximum jobs of a scheduled run.")

    run_max_jobs: int = Field(
        20_000, ge=1, le=100_000_000, description="Cap on the jobs of a run. Raise it before a larger run."
    )
    run_max_cost: float = Field(
        25.0, ge=0, le=1_000_000, description="Cap on the estimated cost of a run, in the currency of the prices below."
    )
    run_overrun_tolerance: float = Field(
        0.1, ge=0, le=10, description="A run takes more jobs than planned, up to this fraction; it leaves the others."
    )
    run_concurrency: int = Field(
        96, ge=1, le=1000, description="Concurrent jobs of runs per process, including waiting jobs."
    )
    run_batch_size: int = Field(32, ge=1, le=100, description="Jobs per queue message (batch) of a run.")
    run_batch_timeout: float = Field(
        300, ge=1, le=1500, description="A batch starts no job after this time; another message processes the rest."
    )

    price_session_hour: float = Field(
        0.03,
        ge=0,
        description="Price of one session-hour in USD: code-interpreter sessions, from secondary sources, November "
        "2026; compare with azure.microsoft.com/pricing/details/container-apps.",
    )
    price_writes: float = Field(
        0.05,
        ge=0,
        description="Price of 10,000 blob writes in USD: hot tier with local redundancy, West Europe list price, "
        "November 2026; compare with azure.microsoft.com/pricing/details/storage/blobs.",
    )
    price_operations: float = Field(
        0.004,
        ge=0,
        description="Price of 10,000 other storage operations (reads, tables, queues) in USD, same source and date.",
    )

    console_access: Literal["keys", "app_service", "open", "off"] = Field(
        "keys",
        description="Access to /api/console: holders of the console's function keys (keys); users that App Service "
        "authentication has signed in, by role (app_service); every client on this machine (open: emulator only); "
        "none (off).",
    )
    console_session_hours: float = Field(
        8, ge=0.1, le=168, description="Lifetime of a console sign-in with a function key, in hours."
    )
    console_reader_role: str = Field(
        "Console.Read", description="App role with read access to the console (app_service)."
    )
    console_writer_role: str = Field(
        "Console.Write", description="App role with write access to the console (app_service)."
    )

    pool_endpoint: str = Field(description="The pool's `poolManagementEndpoint`, in either form that Azure uses.")
    pool_max_sessions: int = Field(
        5, ge=1, le=600, description="The pool's `maxConcurrentSessions`. Each session has one slot."
    )
    pool_api_version: str = Field(
        "2025-10-02-preview",
        pattern=r"^20\d\d-\d\d-\d\d(-preview)?$",
        description="API version of the session pool's data plane; 2024-10-02-preview or later.",
    )
    pool_cooldown: int = Field(300, ge=1, le=3600, description="The pool's `cooldownPeriodInSeconds`.")
    max_slots_per_process: int = Field(600, ge=1, le=600, description="Maximum slots that one process leases at once.")
    slot_acquire_timeout: float = Field(
        60, ge=0, le=1800, description="Maximum wait of a job for a session; then the job is queued."
    )
    slot_lease_duration: int = Field(
        60, ge=15, le=60, description="Duration of a slot's blob lease. It is renewed after a third of it."
    )
    session_concurrency: int = Field(
        2, ge=1, le=8, description="Concurrent jobs per session: their transfers overlap with one execution."
    )
    microbatch_max_jobs: int = Field(
        16,
        ge=1,
        le=100,
        description="Maximum jobs of a microbatch (small jobs in one execution); 1 disables microbatches.",
    )
    microbatch_max_seconds: float = Field(2, ge=0, le=60, description="Maximum expected duration of a microbatch.")
    microbatch_max_bytes: int = Field(
        16 * MIB, ge=0, le=512 * MIB, description="Maximum bytes of sources in a microbatch."
    )
    run_share: float = Field(
        0.25,
        ge=0,
        le=1,
        description="Fraction of a process's slots for runs while uploads wait. Otherwise, runs may use all slots.",
    )
    session_max_jobs: int = Field(
        200, ge=1, le=100_000, description="Recycle a session after this many jobs (trusted recipes: 10,000)."
    )
    session_max_age: int = Field(3300, ge=1, le=86_400, description="Recycle a session at this age.")
    session_idle_timeout: float = Field(120, ge=0, le=3600, description="Release a slot after this idle time.")

    execution_timeout: int = Field(
        120, ge=1, le=220, description="Timeout of one job's execution (limit of the service: 220)."
    )
    transfer_timeout: float = Field(
        30,
        ge=1,
        le=600,
        description="Stall timeout: abort a transfer that neither moves 256 KiB nor ends in this time.",
    )
    job_timeout: float = Field(600, ge=1, le=3600, description="Timeout of a job, from the time when it has a session.")
    claim_ttl: int = Field(
        60, ge=15, le=3600, description="Lifetime of a claim in the ledger. It is renewed after a third of it."
    )
    http_sync_wait: float = Field(
        60, ge=0, le=200, description="Maximum wait of a request for its job; then the response is 202."
    )
    http_max_body_bytes: int = Field(
        100 * MIB, ge=MIB, le=100 * MIB, description="Maximum size of the body of an HTTP request."
    )
    http_max_response_bytes: int = Field(
        32 * MIB, ge=1, le=100 * MIB, description="Maximum size of an image in an HTTP response."
    )
    http_memory_bytes: int = Field(
        512 * MIB, ge=MIB, description="Memory of a process for bodies of HTTP requests and responses; above it, 503."
    )
    http_concurrency: int = Field(
        0, ge=0, le=1000, description="Concurrent requests of an instance (the template sets it; 0: unknown)."
    )
    instance_memory_mib: int = Field(
        0, ge=0, le=65_536, description="Memory of an instance in MiB (the template sets it; 0: unknown)."
    )
    preview_timeout: float = Field(
        60, ge=1, le=200, description="Timeout of a preview, including the wait for a session."
    )
    idempotency_ttl_hours: float = Field(
        24, ge=0.01, le=24 * 365, description="Lifetime of an Idempotency-Key, in hours."
    )
    run_retention_days: float = Field(
        90, ge=1, le=36_500, description="Retention of plans and of finished runs, in days."
    )
    job_retention_days: float = Field(
        90,
        ge=1,
        le=36_500,
        description="Retention of ended jobs whose source or recipe is gone, of jobs of ad-hoc recipes and of images "
        "sent with requests, and of unused ad-hoc recipes, in days.",
    )
    replaced_renditions: Literal["keep", "delete"] = Field(
        "keep",
        description="What happens to renditions that a newer job of the same source and recipe has replaced by others "
        "at other paths: `keep`, or `delete` once the newer job is done.",
    )
    retry_max_attempts: int = Field(
        4, ge=1, le=10, description="Maximum attempts of one call to the pool, with exponential backoff."
    )
    retry_timeout: float = Field(30, ge=0, le=600, description="Total time for all attempts of one call to the pool.")
    max_attempts: int = Field(5, ge=1, le=100, description="Maximum attempts of one job, over all queue messages.")
    give_up_after: float = Field(
        86_400,
        ge=0,
        le=7 * 86_400,
        description="A job that has lost this time to faults of services is given up; so is a message that cannot be "
        "read, or waits for a newer deployment, for this time.",
    )
    requeue_delay: float = Field(
        10,
        ge=0,
        le=3600,
        description="Delay before a queued job is retried; it doubles with every attempt. Also the time from the "
        "opening of a circuit breaker to its first probe.",
    )

    allowed_formats: str = Field(
        "JPEG,PNG,WEBP,GIF,TIFF,AVIF,BMP,HEIF",
        description="Allowed formats of sources, by Pillow's names. The format is detected from the content.",
    )
    max_source_bytes: int = Field(100 * MIB, ge=1, le=128 * 1000 * 1000, description="Maximum size of a source.")
    max_pixels: int = Field(
        100_000_000, ge=1, le=2_000_000_000, description="Maximum width × height × frames of a source."
    )
    max_frames: int = Field(500, ge=1, le=100_000, description="Maximum frames of a source.")
    max_renditions: int = Field(20, ge=1, le=100, description="Maximum renditions of a recipe.")
    max_rendition_bytes: int = Field(100 * MIB, ge=1, le=1000 * MIB, description="Maximum size of a rendition.")
    max_rendition_pixels: int = Field(
        100_000_000, ge=1, le=2_000_000_000, description="Maximum width × height of a rendition."
    )

    @field_validator("pool_endpoint")
    @classmethod
    def _endpoint_is_safe(cls, value: str) -> str:
        url = urlsplit(value)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("must be an http(s) URL")
        if url.scheme == "http" and url.hostname not in LOOPBACK:
            raise ValueError("must be https, because the client sends a token (plain http is only for this machine)")
        return value.split("?")[0].rstrip("/")

    @field_validator("allowed_formats")
    @classmethod
    def _formats_are_known(cls, value: str) -> str:
        names = [name.strip().upper() for name in value.split(",") if name.strip()]
        refused = sorted(set(names) - set(DECODERS))
        if refused or not names:
            raise ValueError(f"{', '.join(refused) or 'nothing'} cannot be allowed")
        return ",".join(names)

    @model_validator(mode="after")
    def _containers_differ(self) -> Self:
        shared = {self.input_container, self.output_container}
        own = {self.upload_container, self.state_container, self.asset_container, self.dead_letter_container}
        if len(own - shared) < 4:
            raise ValueError("the upload, asset, state and dead-letter containers must differ from all others")
        return self

    @property
    def recipe_file(self) -> Path:
        """Return the path of the recipe file."""
        return APP_FOLDER / self.recipes

    @property
    def module_folder(self) -> Path | None:
        """Return the path of the folder of user code, or None."""
        return APP_FOLDER / self.code_folder if self.code_folder else None

    @property
    def format_names(self) -> list[str]:
        """Return `allowed_formats` as a list of Pillow's format names."""
        return self.allowed_formats.split(",")

    @property
    def adhoc_may_have_code(self) -> bool:
        """Return True if an ad-hoc recipe may contain user code."""
        return self.allow_code and self.adhoc_recipes == "code"

    @property
    def limits(self) -> Limits:
        """Return the limits that the engine enforces for a source and its renditions."""
        return Limits(
            max_pixels=self.max_pixels,
            max_frames=self.max_frames,
            max_rendition_bytes=self.max_rendition_bytes,
            max_rendition_pixels=self.max_rendition_pixels,
        )

    @property
    def pool_needs_token(self) -> bool:
        """Return True if requests to the pool need a token: always, except on this machine over plain http."""
        return urlsplit(self.pool_endpoint).scheme == "https"

    @property
    def pool_is_custom_container(self) -> bool:
        """Return True for the endpoint of a custom-container pool, which ends sessions by another call."""
        return (urlsplit(self.pool_endpoint).hostname or "").endswith(".azurecontainerapps.io")

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, *, ignore_unknown: bool = False) -> Self:
        """Read the settings from `environ` (default: the environment of the process).

        An unknown variable with the prefix `PIPELINE_` is an error. With `ignore_unknown` it is a warning event:
        provisioning and rollbacks give older code newer settings.

        Raises:
            ConfigError: A setting is missing, invalid or unknown; the message lists all problems.
        """
        environ = os.environ if environ is None else environ
        values = {key.removeprefix(PREFIX).lower(): value for key, value in environ.items() if key.startswith(PREFIX)}
        if ignore_unknown:
            for name in sorted(values.keys() - cls.model_fields.keys()):
                del values[name]
                log.warning("%s; it is ignored", _unknown(name), extra={"event": "settings.unknown"})
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError("settings:\n" + "\n".join(f"  {line}" for line in _problems(error))) from None


def variable(field: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + field.upper()


def _unknown(field: str) -> str:
    """Return the message about a variable that is no setting, with the nearest known name."""
    near = difflib.get_close_matches(field, Settings.model_fields, n=1)
    return f"{variable(field)} is not a setting" + (f"; did you mean {variable(near[0])}?" if near else "")


def _problems(error: ValidationError) -> Iterator[str]:
    """Yield one line per invalid setting: its variable, the value, and the rule that it breaks."""
    for problem in error.errors(include_url=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        if problem["type"] == "missing":
            yield f"{variable(name)} is not set: {Settings.model_fields[name].description}"
        elif problem["type"] == "extra_forbidden":
            yield _unknown(name)
        else:
            message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
            yield f"{variable(name)}={problem['input']!r}: {message}" if name else message
