"""The engine under a coverage-guided fuzzer: `python -m tests.hostile.fuzz CORPUS [-max_total_time=SECONDS …]`.

Needs `pip install atheris`, which is not among the requirements: its wheels lag behind Python. What it finds is kept
in `findings.py`, minimised. An input is one byte that picks a job, and then the source.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["PIL", "pipeline"]):
    from PIL import ImageFile

    from pipeline.engine.execution import jobs
    from pipeline.engine.protocol import Job
    from tests.hostile.files import mutated, seeds
    from tests.hostile.jobs import JOBS, complaint

PLACE = Path(tempfile.mkdtemp(prefix="fuzz-"))


def one(data: bytes) -> None:
    """Do a job; raise when the engine did anything but make renditions or refuse with a reason of its own."""
    if len(data) < 2:
        return
    job: Job = JOBS[data[0] % len(JOBS)]
    for left in PLACE.iterdir():
        left.unlink()
    (PLACE / job["source"]).write_bytes(data[1:])
    wrong = complaint(jobs.execute_job(job, PLACE), job, PLACE)
    if wrong or ImageFile.LOAD_TRUNCATED_IMAGES:
        raise AssertionError(wrong or "Pillow was left patient with truncated files")


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """Half of the time with what is known of image files."""
    random_ = random.Random(seed)
    if len(data) < 2 or random_.random() < 0.5:
        mixed: bytes = atheris.Mutate(data, most)
        return mixed
    return (data[:1] + mutated(data[1:], random_))[:most]


def main(argv: list[Any]) -> None:
    """Fill the corpus with the good files, and start."""
    corpus = Path(argv[1])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, (name, body) in enumerate(seeds().items()):
        (corpus / name).write_bytes(bytes([number % len(JOBS)]) + body)
    atheris.Setup(argv, one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
