"""Every setting in one place: its environment variable, default, bounds and meaning.

A field `max_pixels` is set by the environment variable `PIPELINE_MAX_PIXELS`. The storage account follows the
convention of Azure Functions for the connection named `IMAGES`: either `IMAGES` holds a connection string (the
emulator), or `IMAGES__blobServiceUri`, `IMAGES__queueServiceUri` and `IMAGES__tableServiceUri` name the services and
a managed identity signs in (`IMAGES__clientId` when it is a user-assigned one).

None of these can be changed by a request.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.engine.protocol import Limits
from pipeline.engine.revisions import DECODERS
from pipeline.errors import ConfigError

PREFIX = "PIPELINE_"
CONNECTION = "IMAGES"
LOOPBACK = {"127.0.0.1", "localhost", "::1"}

MIB = 1024 * 1024
ContainerName = Annotated[str, Field(pattern=r"^[a-z0-9](-?[a-z0-9]){2,62}$", max_length=63)]


class StorageAccount(BaseModel):
    """Where blobs, queues and tables are: a connection string, or three endpoints and an identity."""

    model_config = ConfigDict(frozen=True)

    connection_string: str | None = Field(default=None, repr=False)
    blob_uri: str | None = None
    queue_uri: str | None = None
    table_uri: str | None = None
    client_id: str | None = None

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Read the connection `IMAGES` from `environ`; ConfigError says what is missing."""
        connection = environ.get(CONNECTION)
        if connection:
            return cls(connection_string=connection)
        uris = {kind: environ.get(f"{CONNECTION}__{kind}ServiceUri") for kind in ("blob", "queue", "table")}
        missing = [f"{CONNECTION}__{kind}ServiceUri" for kind, uri in uris.items() if not uri]
        if missing:
            raise ConfigError(
                f"no storage account: set {CONNECTION} to a connection string, or set {', '.join(missing)} "
                "to its endpoints (the identity then signs in)"
            )
        return cls(
            blob_uri=uris["blob"],
            queue_uri=uris["queue"],
            table_uri=uris["table"],
            client_id=environ.get(f"{CONNECTION}__clientId"),
        )


class Settings(BaseModel):
    """All settings but the storage account. Times are in seconds, sizes in bytes, pixels over all frames."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    recipes: Path = Field(Path("recipes.yaml"), description="The recipe file; relative to the app's folder.")
    input_container: ContainerName = Field("input", description="Container that sources are dropped into.")
    output_container: ContainerName = Field("output", description="Container that renditions are committed to.")
    upload_container: ContainerName = Field("uploads", description="Container for images sent with a request.")
    asset_container: ContainerName = Field("assets", description="Container of the pictures and fonts in recipes.")
    state_container: ContainerName = Field("pipeline", description="Container for the slots of the session pool.")
    job_queue: ContainerName = Field("jobs", description="Queue for jobs that wait: retries, a full pool, runs.")
    ledger_table: str = Field(
        "ledger", pattern=r"^[A-Za-z][A-Za-z0-9]{2,62}$", description="Table that says what happened to every job."
    )
    run_queue: ContainerName = Field("runs", description="Queue for the work of runs, apart from that for fresh jobs.")
    run_table: str = Field(
        "runs", pattern=r"^[A-Za-z][A-Za-z0-9]{2,62}$", description="Table of plans and runs, and how far they are."
    )
    allow_code: bool = Field(False, description="Whether recipes may bring Python code of their own.")
    adhoc_recipes: Literal["off", "on", "code"] = Field(
        "off",
        description="Whether requests may bring recipes of their own: off, on, or code (also such with Python code, "
        "where `allow_code` is set as well).",
    )
    code_folder: Path | None = Field(None, description="Folder of the modules that recipes may name as their code.")
    schedule: str = Field(
        "0 0 3 * * *", description="When the timer starts the scheduled run (NCRONTAB, six fields, UTC)."
    )
    schedule_reasons: str = Field(
        "new,changed,recipe_changed,unfinished",
        description="Which jobs the scheduled run takes, by reason; see `python -m pipeline plan --help`.",
    )
    schedule_prefix: str = Field("", description="The scheduled run takes only sources whose names start with this.")
    schedule_max_jobs: int = Field(10_000, ge=1, le=100_000_000, description="The most jobs of a scheduled run.")

    run_max_jobs: int = Field(
        20_000, ge=1, le=100_000_000, description="The most jobs of a run; to be raised on purpose before a larger one."
    )
    run_max_cost: float = Field(
        25.0, ge=0, le=1_000_000, description="The most that a run may cost, in the currency of the prices below."
    )
    run_overrun_tolerance: float = Field(
        0.1, ge=0, le=10, description="A run stops when it finds more jobs than planned, by more than this share."
    )
    run_concurrency: int = Field(
        96, ge=1, le=1000, description="Jobs of runs that a process has under way at once, waiting ones included."
    )
    run_batch_size: int = Field(32, ge=1, le=100, description="Jobs per message of a run.")
    run_batch_timeout: float = Field(
        300, ge=1, le=1500, description="A batch begins no more jobs after this time; another message brings the rest."
    )

    price_session_hour: float = Field(
        0.03,
        ge=0,
        description="Price of a session for an hour, in USD: code-interpreter sessions, as quoted by secondary sources "
        "in November 2026; compare with azure.microsoft.com/pricing/details/container-apps.",
    )
    price_writes: float = Field(
        0.05,
        ge=0,
        description="Price of 10,000 blob writes, in USD: hot tier with local redundancy, West Europe list price, "
        "November 2026; compare with azure.microsoft.com/pricing/details/storage/blobs.",
    )
    price_operations: float = Field(
        0.004,
        ge=0,
        description="Price of 10,000 other storage operations (reads, tables, queues), in USD, same source and date.",
    )

    console_access: Literal["keys", "app_service", "open", "off"] = Field(
        "keys",
        description="Who may open /api/console: holders of the console's function keys; those whom App Service "
        "authentication has signed in, by their roles; anyone on this machine (open: emulator only); nobody.",
    )
    console_session_hours: float = Field(8, ge=0.1, le=168, description="How long a sign-in with a function key lasts.")
    console_reader_role: str = Field("Console.Read", description="App role that may look (app_service).")
    console_writer_role: str = Field("Console.Write", description="App role that may also change things (app_service).")

    pool_endpoint: str = Field(description="The pool's `poolManagementEndpoint`, in either form that Azure uses.")
    pool_max_sessions: int = Field(5, ge=1, le=600, description="The pool's `maxConcurrentSessions`: one slot each.")
    pool_api_version: str = Field(
        "2025-10-02-preview",
        pattern=r"^20\d\d-\d\d-\d\d(-preview)?$",
        description="Version of the session pool's data plane; 2024-10-02-preview or later.",
    )
    pool_cooldown: int = Field(300, ge=1, le=3600, description="The pool's `cooldownPeriodInSeconds`.")
    max_slots_per_process: int = Field(600, ge=1, le=600, description="The most slots that one process leases at once.")
    slot_acquire_timeout: float = Field(
        60, ge=0, le=1800, description="How long a job waits for a session before it is queued."
    )
    slot_lease_duration: int = Field(
        60, ge=15, le=60, description="Length of a slot's blob lease, renewed at a third of it."
    )
    session_concurrency: int = Field(
        2, ge=1, le=8, description="Jobs at once in a session: transfers overlap with one run."
    )
    microbatch_max_jobs: int = Field(
        16, ge=1, le=100, description="Small jobs that one execution takes in when many wait; 1 for one by one."
    )
    microbatch_max_seconds: float = Field(
        2, ge=0, le=60, description="Seconds that the jobs of one execution take together."
    )
    microbatch_max_bytes: int = Field(
        16 * MIB, ge=0, le=512 * MIB, description="The most bytes of sources in one execution."
    )
    run_share: float = Field(
        0.25, ge=0, le=1, description="Share of the seats that jobs of runs get while other jobs wait (all, when none)."
    )
    session_max_jobs: int = Field(
        200, ge=1, le=100_000, description="Recycle a session after this many jobs (of trusted recipes: 10,000)."
    )
    session_max_age: int = Field(3300, ge=1, le=86_400, description="Recycle a session that is older.")
    session_idle_timeout: float = Field(
        120, ge=0, le=3600, description="Give a slot back when it had no work for this long."
    )

    execution_timeout: int = Field(
        120, ge=1, le=220, description="The longest run of one job's code (the service's cap: 220)."
    )
    transfer_timeout: float = Field(
        30, ge=1, le=600, description="A transfer that does not move 256 KiB, or end, in this time is cut off."
    )
    job_timeout: float = Field(600, ge=1, le=3600, description="The longest a job may take once it has a session.")
    claim_ttl: int = Field(60, ge=15, le=3600, description="Length of a claim in the ledger, renewed at a third of it.")
    http_sync_wait: float = Field(
        60, ge=0, le=200, description="How long a request waits for its job before it answers 202."
    )
    http_max_response_bytes: int = Field(
        32 * MIB, ge=1, le=100 * MIB, description="The largest image that an answer over HTTP carries."
    )
    preview_timeout: float = Field(60, ge=1, le=200, description="How long a preview may take, its session included.")
    idempotency_ttl_hours: float = Field(
        24, ge=0.01, le=24 * 365, description="How long an Idempotency-Key stands for what it began: a job, a run."
    )
    run_retention_days: float = Field(
        90, ge=1, le=36_500, description="How long plans and runs that are over are kept."
    )
    retry_max_attempts: int = Field(
        4, ge=1, le=10, description="Tries of one call to the pool, with growing pauses between."
    )
    retry_timeout: float = Field(30, ge=0, le=600, description="Total time for the tries of one call to the pool.")
    max_attempts: int = Field(5, ge=1, le=100, description="Attempts of one job, over all queue messages.")
    requeue_delay: float = Field(10, ge=0, le=3600, description="Delay of a queued job; doubles with every attempt.")

    allowed_formats: str = Field(
        "JPEG,PNG,WEBP,GIF,TIFF,AVIF,BMP,HEIF",
        description="Formats that sources may have, found by content, by Pillow's names.",
    )
    max_source_bytes: int = Field(100 * MIB, ge=1, le=128 * 1000 * 1000, description="The largest source.")
    max_pixels: int = Field(100_000_000, ge=1, le=2_000_000_000, description="Width × height × frames of a source.")
    max_frames: int = Field(500, ge=1, le=100_000, description="The most frames of a source.")
    max_renditions: int = Field(20, ge=1, le=100, description="The most renditions of a recipe.")
    max_rendition_bytes: int = Field(100 * MIB, ge=1, le=1000 * MIB, description="The largest rendition.")
    max_rendition_pixels: int = Field(100_000_000, ge=1, le=2_000_000_000, description="Width × height of a rendition.")

    @field_validator("pool_endpoint")
    @classmethod
    def _endpoint_is_safe(cls, value: str) -> str:
        url = urlsplit(value)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("must be an http(s) address")
        if url.scheme == "http" and url.hostname not in LOOPBACK:
            raise ValueError("must be https: a token is sent there (plain http is for this machine only)")
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
        private = [self.upload_container, self.state_container, self.asset_container]
        if len({*private, self.input_container, self.output_container}) < len(private) + len(
            {self.input_container, self.output_container}
        ):
            raise ValueError("the upload, asset and state containers must differ from all others")
        return self

    @property
    def format_names(self) -> list[str]:
        """`formats` as a list of Pillow's format names."""
        return self.allowed_formats.split(",")

    @property
    def adhoc_may_have_code(self) -> bool:
        """Whether the recipe of a request may bring code."""
        return self.allow_code and self.adhoc_recipes == "code"

    @property
    def limits(self) -> Limits:
        """What the engine in a session holds a source and its renditions to."""
        return Limits(
            max_pixels=self.max_pixels,
            max_frames=self.max_frames,
            max_rendition_bytes=self.max_rendition_bytes,
            max_rendition_pixels=self.max_rendition_pixels,
        )

    @property
    def pool_needs_token(self) -> bool:
        """Whether the pool is asked with a token: always, except on this machine over plain http."""
        return urlsplit(self.pool_endpoint).scheme == "https"

    @property
    def pool_is_custom_container(self) -> bool:
        """Whether the endpoint has the form of a custom-container pool, which ends sessions by another call."""
        return (urlsplit(self.pool_endpoint).hostname or "").endswith(".azurecontainerapps.io")

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the settings from `environ` (the process's own by default); ConfigError lists every problem."""
        environ = os.environ if environ is None else environ
        values = {key.removeprefix(PREFIX).lower(): value for key, value in environ.items() if key.startswith(PREFIX)}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError("settings:\n" + "\n".join(f"  {line}" for line in _problems(cls, error))) from None


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + field.upper()


def _problems(cls: type[Settings], error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        if problem["type"] == "missing":
            yield f"{variable(name)} is not set: {cls.model_fields[name].description}"
        elif problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, cls.model_fields, n=1)
            yield f"{variable(name)} is not a setting" + (f"; did you mean {variable(near[0])}?" if near else "")
        else:
            message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
            yield f"{variable(name)}={problem['input']!r}: {message}" if name else message
