"""`python -m tests.model`: run larger searches than the tests do, and print their sizes."""

from __future__ import annotations

import logging
import time

from tests.model import slots
from tests.model.jobs import Bounds, Search

SEARCHES = {
    "three workers, a duplicate, a crash": Bounds(workers=3, crashes=1, waits=1, overwrites=1, duplicates=1),
    "two crashes": Bounds(workers=2, crashes=2, waits=1, overwrites=1),
    "two renditions, a crash": Bounds(workers=2, crashes=1, waits=1, overwrites=1, renditions=2),
    "a failed call, an expired claim": Bounds(workers=2, crashes=0, waits=1, overwrites=1, faults=1),
    "a crash and a failed call": Bounds(workers=2, crashes=1, waits=0, overwrites=1, faults=1),
    "a deletion, a crash": Bounds(workers=2, crashes=1, waits=1, overwrites=1, deletions=1),
    "heartbeats": Bounds(workers=2, crashes=1, waits=1, overwrites=0, duplicates=1, renewals=1),
}


SLOTS = {
    "a slot, a crash, a failed call": slots.Bounds(processes=2, crashes=1, faults=1),
    "a slot, three processes, a crash": slots.Bounds(processes=3, crashes=1),
}


def main() -> None:
    """Print a line for each search; raise Violation if an invariant does not hold."""
    logging.disable(logging.CRITICAL)
    print(f"{'search':45} {'states':>9} {'steps':>9} {'ends':>5} {'seconds':>8}")
    for name, bounds in SEARCHES.items():
        start = time.perf_counter()
        found = Search(bounds).run()
        took = time.perf_counter() - start
        print(f"{name:45} {found.states:9,} {found.steps:9,} {found.ends:5,} {took:8.1f}", flush=True)
    for name, asked in SLOTS.items():
        start = time.perf_counter()
        searched = slots.Search(asked).run()
        took = time.perf_counter() - start
        print(f"{name:45} {searched.states:9,} {searched.steps:9,} {'':5} {took:8.1f}", flush=True)


if __name__ == "__main__":
    main()
