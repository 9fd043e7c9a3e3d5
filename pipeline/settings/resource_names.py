"""Names of containers and queues in settings, by the rules of Azure Storage."""

from typing import Annotated

from pydantic import BeforeValidator, Field

WEBSITE_CONTAINER = "$web"
"""Container that the storage account serves as a web site: every reader of the internet gets its blobs."""

# The Functions host appends this suffix to the name of a queue.
POISON_QUEUE_SUFFIX = "-poison"
BLOB_TRIGGER_POISON_QUEUE = "webjobs-blobtrigger-poison"
"""Queue of failed blob triggers, in the storage account of the blobs."""


def _is_not_website(name: object) -> object:
    if name == WEBSITE_CONTAINER:
        raise ValueError(
            f"only the output container may be {WEBSITE_CONTAINER}, because the storage account publishes its blobs as "
            "a web site: name another container"
        )
    return name


QueueName = Annotated[str, Field(pattern=r"^[a-z0-9](-?[a-z0-9]){2,62}$", max_length=63)]
ContainerName = Annotated[QueueName, BeforeValidator(_is_not_website)]
OutputContainerName = Annotated[str, Field(pattern=r"^(\$web|[a-z0-9](-?[a-z0-9]){2,62})$", max_length=63)]
