"""Settings of jobs: timeouts, attempts and retention."""

from typing import Literal

from pydantic import Field

from pipeline.settings.area import Area


class JobSettings(Area):
    """Timeouts and attempts of jobs."""

    execution_timeout: int = Field(
        120, ge=1, le=220, description="Timeout of one job's execution (limit of the service: 220)."
    )
    transfer_timeout: float = Field(
        30,
        ge=1,
        le=600,
        description="Stall timeout: abort a transfer that neither moves 256 KiB nor ends in this time.",
    )
    job_timeout: float = Field(600, ge=1, le=3000, description="Timeout of a job, from the time when it has a session.")
    claim_ttl: int = Field(
        60, ge=15, le=3600, description="Lifetime of a claim in the ledger. It is renewed after a third of it."
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


class RetentionSettings(Area):
    """Retention of the bookkeeping."""

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
