"""Fixtures for tests of the pool."""

from __future__ import annotations

import pytest

from pipeline.pool import lease_keeper, rebalancing, scheduler


@pytest.fixture
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run maintenance, slot searches and rebalancing every 20 to 100 ms."""
    monkeypatch.setattr(scheduler, "MAINTENANCE_INTERVAL_SECONDS", 0.02)
    monkeypatch.setattr(lease_keeper, "SEARCH_INTERVAL_SECONDS", 0.1)
    monkeypatch.setattr(rebalancing, "REBALANCE_INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(rebalancing, "PEAK_SECONDS", 0.15)
