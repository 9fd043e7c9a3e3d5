"""Fixtures for the tests of scripts for Azure."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.infra.azure import Azure, subscription


@pytest.fixture
def azure(tmp_path: Path) -> Azure:
    """Create a fake subscription for one test."""
    return subscription(tmp_path)
