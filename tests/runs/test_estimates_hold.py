"""Estimates are upper bounds and not far from the hours that runs start, on the real scheduler in virtual time."""

from __future__ import annotations

import secrets

import pytest

from benchmarks.money import KINDS, LEAST_HOURS, MAX_RATIO, outcome

# Each run takes less than a second; `python -m benchmarks money` executes whole ones.
SIZE = 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_an_estimate_is_an_upper_bound(kind: str) -> None:
    seed = secrets.randbelow(10**9)
    seen = outcome(kind, seed, SIZE)
    assert seen.counted <= seen.estimated, f"seed {seed}"
    if seen.counted >= LEAST_HOURS:
        assert seen.ratio <= MAX_RATIO, f"seed {seed}"
