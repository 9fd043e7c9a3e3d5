"""Compose the emulator: proxy, control API and Event Grid."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from event_grid_emulator.control_api import control_app
from event_grid_emulator.faults import Faults
from event_grid_emulator.grid import EventGrid
from event_grid_emulator.http_server import Certificate, serving
from event_grid_emulator.proxy import Proxy
from event_grid_emulator.upstream import Upstream

# The account of Azurite. Its key is published and the same on every machine: it is no secret.
AZURITE_URL = "http://127.0.0.1:10000"
AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True)
class EmulatorOptions:
    """Options of the emulator.

    Port 0 selects a free port, `pace` scales the retry delays, a certificate enables https.
    """

    emulator_url: str = AZURITE_URL
    port: int = 0
    faults: Faults = field(default_factory=Faults)
    pace: float = 1.0
    account: str = AZURITE_ACCOUNT
    key: str = AZURITE_KEY
    certificate: Certificate | None = None


@contextlib.asynccontextmanager
async def running(options: EmulatorOptions) -> AsyncIterator[tuple[str, EventGrid]]:
    """Run the emulator until the block ends. Yield the base URL that replaces the storage emulator's, and the grid."""
    async with (
        Upstream.open(options.emulator_url, options.account, options.key) as upstream,
        contextlib.aclosing(EventGrid(upstream, options.faults, options.pace)) as grid,
        serving(control_app(grid, Proxy(upstream, grid.on_operation)), options.port, options.certificate) as url,
    ):
        yield url, grid
