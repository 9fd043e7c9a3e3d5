"""Command `init`: provision the storage account."""

from __future__ import annotations

from pipeline.cli.common import console, with_services
from pipeline.services import Services
from pipeline.storage.provisioning import create_all


def command() -> None:
    """Create the containers, queues and tables that do not exist yet."""

    async def create(services: Services) -> list[str]:
        return await create_all(services.account, services.settings)

    created = with_services(create)
    console.print(f"created {', '.join(created)}" if created else "nothing to create: everything exists")
