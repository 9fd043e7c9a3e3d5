"""Fuzz the engine, guided by coverage: `python -m tests.hostile.fuzz CORPUS [-max_total_time=SECONDS …]`.

Install atheris first. It is no requirement, because its wheels lag behind Python. `test_findings.py` keeps its findings
in minimal form. The first byte of an input selects a job; the rest is the source.
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
    from tests.hostile.jobs import JOBS, violation

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))


def run_input(data: bytes) -> None:
    """Run a job. Raises AssertionError unless the engine makes all renditions, or refuses with one of its reasons."""
    if len(data) < 2:
        return
    job: Job = JOBS[data[0] % len(JOBS)]
    for old in FOLDER.iterdir():
        old.unlink()
    (FOLDER / job["source"]).write_bytes(data[1:])
    problem = violation(jobs.execute_job(job, FOLDER), job, FOLDER)
    if problem or ImageFile.LOAD_TRUNCATED_IMAGES:
        raise AssertionError(problem or "Pillow still accepts truncated files")


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Mutate an input, half of the time with mutations made for image files."""
    rng = random.Random(seed)
    if len(data) < 2 or rng.random() < 0.5:
        mixed: bytes = atheris.Mutate(data, max_size)
        return mixed
    return (data[:1] + mutated(data[1:], rng))[:max_size]


def main(argv: list[Any]) -> None:
    """Fill the corpus with valid files, and start the fuzzer."""
    corpus = Path(argv[1])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, (name, body) in enumerate(seeds().items()):
        (corpus / name).write_bytes(bytes([number % len(JOBS)]) + body)
    atheris.Setup(argv, run_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
