"""Settings of the resources in the storage account, and of the event subscription."""

from typing import Self

from pydantic import Field, model_validator

from pipeline.settings.area import Area
from pipeline.settings.resource_names import POISON_QUEUE_SUFFIX, ContainerName, OutputContainerName, QueueName


class ResourceSettings(Area):
    """Names of containers, queues, tables and the event subscription."""

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

    @model_validator(mode="after")
    def _containers_differ(self) -> Self:
        shared = {self.input_container, self.output_container}
        own = {self.upload_container, self.state_container, self.asset_container, self.dead_letter_container}
        if len(own - shared) < 4:
            raise ValueError("the upload, asset, state and dead-letter containers must differ from all others")
        return self

    @property
    def job_poison_queue(self) -> str:
        """Return the name of the queue of the job queue's dead letters."""
        return self.job_queue + POISON_QUEUE_SUFFIX

    @property
    def run_poison_queue(self) -> str:
        """Return the name of the queue of the run queue's dead letters."""
        return self.run_queue + POISON_QUEUE_SUFFIX
