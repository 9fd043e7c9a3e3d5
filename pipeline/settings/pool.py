"""Settings of the session pool, its slots and its sessions."""

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from pipeline.settings.area import MIB, Area

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class PoolSettings(Area):
    """The pool's endpoint, and the use of its sessions."""

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
        description="Fraction of the slots for runs while uploads or requests wait. Otherwise, runs may use all. "
        "If the shares exceed 1 together, `upload_share` comes first.",
    )
    upload_share: float = Field(
        0.12,
        ge=0,
        le=1,
        description="Fraction of the slots for uploads while requests wait. Otherwise, uploads may use all.",
    )
    session_max_jobs: int = Field(
        200, ge=1, le=100_000, description="Recycle a session after this many jobs (trusted recipes: 10,000)."
    )
    session_max_age: int = Field(3300, ge=1, le=86_400, description="Recycle a session at this age.")
    session_idle_timeout: float = Field(120, ge=0, le=3600, description="Release a slot after this idle time.")

    @field_validator("pool_endpoint")
    @classmethod
    def _endpoint_is_safe(cls, value: str) -> str:
        url = urlsplit(value)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("must be an http(s) URL")
        if url.scheme == "http" and url.hostname not in LOOPBACK:
            raise ValueError("must be https, because the client sends a token (plain http is only for this machine)")
        return value.split("?")[0].rstrip("/")

    @property
    def pool_needs_token(self) -> bool:
        """Return True if requests to the pool need a token: always, except on this machine over plain http."""
        return urlsplit(self.pool_endpoint).scheme == "https"

    @property
    def pool_is_custom_container(self) -> bool:
        """Return True for the endpoint of a custom-container pool, which ends sessions by another call."""
        return (urlsplit(self.pool_endpoint).hostname or "").endswith(".azurecontainerapps.io")
