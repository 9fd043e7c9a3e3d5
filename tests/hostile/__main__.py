"""`python -m tests.hostile FOLDER`: every file in it through a real session. Exits with 1 when one did what none may.

That is: a hang, a crash, a foreign exception, a job that is tried again, the death of an interpreter.
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
from tests.hostile.outcomes import Report, embedded, judged


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of files; made when some are to be generated.")],
    generate: Annotated[int, typer.Option(min=0, help="So many broken images are written there first.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same images.")] = 1,
    sessions: Annotated[int, typer.Option(min=1, max=20, help="Sessions of the pool.")] = 2,
) -> None:
    """Put any folder of files through real sessions and print what became of them."""
    logging.getLogger("pipeline").setLevel(logging.ERROR)  # thousands of failures are what this is for
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in generated(generate, seed):
        (folder / name).write_bytes(body)
    report = asyncio.run(_judge(_files(folder), sessions))
    typer.echo(report.table())
    sys.exit(bool(report.wrong or report.lost))


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes()


async def _judge(files: Iterable[tuple[str, bytes]], sessions: int) -> Report:
    async with embedded(sessions) as (stack, log):
        return await judged(stack, log, files, 2 * sessions)


if __name__ == "__main__":
    typer.run(main)
