"""`python -m tests.hostile FOLDER`: process every file of a folder in real sessions. Exits with 1 after a violation.

Violations are a hang, a crash, a foreign exception, a repeated job, and the death of an interpreter.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from tests.hostile.files import generated
from tests.hostile.outcomes import Report, local_stack, process_all


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of files; created if missing.")],
    generate: Annotated[int, typer.Option(min=0, help="Number of broken images to write there first.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the generated images.")] = 1,
    sessions: Annotated[int, typer.Option(min=1, max=20, help="Number of sessions in the pool.")] = 2,
) -> None:
    """Process a folder of files in real sessions and print the outcomes."""
    logging.getLogger("pipeline").setLevel(logging.ERROR)  # thousands of failures are expected
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in generated(generate, seed):
        (folder / name).write_bytes(body)
    report = asyncio.run(_process(_files(folder), sessions))
    typer.echo(report.table())
    sys.exit(bool(report.violations or report.lost))


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes()


async def _process(files: Iterable[tuple[str, bytes]], sessions: int) -> Report:
    async with local_stack(sessions) as (stack, log):
        return await process_all(stack, log, files, 2 * sessions)


if __name__ == "__main__":
    typer.run(main)
