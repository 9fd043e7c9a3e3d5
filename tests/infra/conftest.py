"""Fixtures of the tests of the scripts for Azure."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.infra.azure import Azure, subscription


@pytest.fixture
def azure(tmp_path: Path) -> Azure:
    """A subscription of the test's own."""
    return subscription(tmp_path)
