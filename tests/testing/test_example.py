"""The example in the documentation of pipeline.testing works as written."""

from __future__ import annotations

import doctest

import pipeline.testing


def test_the_example_works() -> None:
    results = doctest.testmod(pipeline.testing)
    assert results.attempted > 5
    assert results.failed == 0
