"""Measure the quality of renditions: `python -m benchmarks.image_quality [FIGURE …]`. All inputs are generated.

Exit status 1 means that a goal is missed. The conditions (versions, cores, time) are printed below the table.
"""

from __future__ import annotations

import argparse
import importlib
import os
import time
from collections.abc import Iterable
from typing import Protocol

from PIL import features

from benchmarks.table import HEAD, Row

FIGURES = ("damage", "color", "gain_map", "smart_crop", "encoders")
"""Modules of `benchmarks.quality`. Each has a function `rows`."""


class Figure(Protocol):
    """A module that measures rows of the table. `size` scales the number of inputs: 1 as documented."""

    def rows(self, size: float) -> Iterable[Row]:
        """Measure and yield the rows."""


def measure(names: Iterable[str], size: float) -> bool:
    """Print each row as soon as it is measured. Return whether all goals are met."""
    print(HEAD)
    met = True
    for name in names:
        figure: Figure = importlib.import_module(f"benchmarks.quality.{name}")
        for row in figure.rows(size):
            print(row, flush=True)
            met &= row.met
    return met


def main() -> None:
    """Parse the command line, measure, and exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.image_quality", description=__doc__)
    parser.add_argument(
        "figure", nargs="*", metavar="FIGURE", help=f"figures to measure (default: all): {', '.join(FIGURES)}"
    )
    parser.add_argument("--size", type=float, default=1.0, help="scale of the number of inputs: 0.1 for a quick look")
    options = parser.parse_args()
    started = time.monotonic()
    met = measure(options.figure or FIGURES, options.size)
    print(
        f"\nPillow {features.version('pil')}, size {options.size:g}, {os.cpu_count()} cores, "
        f"{time.monotonic() - started:.0f} s"
    )
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main()
