"""Command `init`: provision the storage account."""

from __future__ import annotations

from pipeline.cli.common import console, with_services
from pipeline.storage import create_all


def command() -> None:
    """Create missing containers, queues and tables."""
    created = with_services(lambda services: create_all(services.account, services.settings))
    console.print(f"created {', '.join(created)}" if created else "nothing to create: everything exists")
