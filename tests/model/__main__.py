"""`python -m tests.model`: search further than the tests do, and say how far that was."""

from __future__ import annotations

import logging
import time

from tests.model import slots
from tests.model.jobs import Bounds, Search

SEARCHES = {
    "three workers, a duplicate, a death": Bounds(workers=3, crashes=1, waits=1, overwrites=1, duplicates=1),
    "two deaths": Bounds(workers=2, crashes=2, waits=1, overwrites=1),
    "two renditions, a death": Bounds(workers=2, crashes=1, waits=1, overwrites=1, renditions=2),
    "a call that goes wrong, a claim that ends": Bounds(workers=2, crashes=0, waits=1, overwrites=1, faults=1),
    "a death and a call that goes wrong": Bounds(workers=2, crashes=1, waits=0, overwrites=1, faults=1),
    "a deletion, a death": Bounds(workers=2, crashes=1, waits=1, overwrites=1, deletions=1),
    "renewals": Bounds(workers=2, crashes=1, waits=1, overwrites=0, duplicates=1, renewals=1),
}


SLOTS = {
    "a slot, a death, a call that goes wrong": slots.Bounds(processes=2, crashes=1, faults=1),
    "a slot, three processes, a death": slots.Bounds(processes=3, crashes=1),
}


def main() -> None:
    """Print a line for each search; it ends with an error where something does not hold."""
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
