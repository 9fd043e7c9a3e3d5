"""Settings of runs: the schedule, the caps and the prices."""

from pydantic import Field

from pipeline.settings.area import Area


class RunSettings(Area):
    """The scheduled run, caps of runs, and their messages."""

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
        25.0,
        ge=0,
        le=1_000_000,
        description="Cap on the cost of a run, in the currency of the prices below: a run with a higher estimate does "
        "not start, and a run pauses before it passes the cap.",
    )
    month_max_cost: float = Field(
        500.0,
        ge=1,
        le=10_000_000,
        description="Cap on the cost of all sessions of a calendar month (UTC). Beyond it no session starts: uploads "
        "and requests wait in the queue, and runs pause.",
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


class PriceSettings(Area):
    """Prices for estimates, in the currency of the caps."""

    price_session_hour: float = Field(
        0.03,
        ge=0,
        description="Price of one session-hour in USD: code-interpreter sessions, from secondary sources, November "
        "2026; compare with azure.microsoft.com/pricing/details/container-apps. With a price of 0, no cap on the cost "
        "can hold, and none may be set.",
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
    price_gb_second: float = Field(
        0.000026,
        ge=0,
        description="Price of a GB-second of a function instance in USD: on-demand, East US, by "
        "modal.com/blog/azure-function-pricing-guide, May 2025; compare with "
        "azure.microsoft.com/pricing/details/functions.",
    )
