"""Any files through a real session, as jobs: what became of each, and whether anything happened that never should."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from devstack import azurite as emulator
from devstack import subprocesses
from pipeline.engine.errors import KINDS
from tests.stack import Stack, environment, opened

RECIPES = """
recipes:
  web:
    renditions:
      small: {format: webp, transforms: [{resize: {width: 200}}]}
      thumb: {format: jpeg, transforms: [{resize: {width: 64, height: 64, mode: cover}}]}
  kept:
    renditions:
      best: {format: auto, keep: [icc, copyright, exif], placeholder: thumbhash}
"""
SECONDS = 30
"""The longest that one file may take; a run that takes longer hangs."""

HUNG = {"execution_timeout", "job_timeout", "transfer_timeout"}
CRASHED = {"session_died", "execution_interrupted", "session_lost", "session_replaced", "out_of_memory"}
FOREIGN = {"engine_failed", "bad_job", "transform_failed", "encode_failed", "bad_session_reply", "session_tainted"}


@dataclass(frozen=True)
class Outcome:
    """What a file became: `done`, or the kind of its failure; and what is wrong with that, if anything is."""

    name: str
    ends: str
    seconds: float
    wrong: str = ""


@dataclass
class Report:
    """All outcomes, and how often sessions were lost on the way."""

    outcomes: list[Outcome] = field(default_factory=list)
    lost: int = 0

    @property
    def wrong(self) -> list[Outcome]:
        """Those that are not as they should be."""
        return [outcome for outcome in self.outcomes if outcome.wrong]

    def table(self) -> str:
        """Outcomes by kind: how many, what that means, and the slowest."""
        lines = [f"{'outcome':<24} {'files':>7} {'slowest':>9}  meaning"]
        for ends, count in Counter(outcome.ends for outcome in self.outcomes).most_common():
            slowest = max(outcome.seconds for outcome in self.outcomes if outcome.ends == ends)
            meaning = KINDS[ends].meaning if ends in KINDS else "every rendition made" if ends == "done" else ""
            lines.append(f"{ends:<24} {count:>7,} {slowest:>7.2f} s  {meaning}")
        bad = Counter(outcome.wrong for outcome in self.outcomes if outcome.wrong)
        words = ("hang", "crash", "foreign exception", "retried")
        lines.append(", ".join(f"{word}: {bad[word]}" for word in words) + f", worker death: {self.lost}")
        return "\n".join([*lines, *(f"  {each.wrong}: {each.name} ({each.ends})" for each in self.wrong)])


@asynccontextmanager
async def embedded(sessions: int) -> AsyncIterator[tuple[Stack, Path]]:
    """The embedded stack, and the log of its session pool."""
    with tempfile.TemporaryDirectory() as folder:
        log, recipe_file = Path(folder, "pool.log"), Path(folder, "recipes.yaml")
        recipe_file.write_text(RECIPES)
        argv = [sys.executable, "-m", "devstack", "session-pool", "--max-sessions", str(sessions), "--log", log]
        async with emulator.running(data=None) as azurite, subprocesses.running("session pool", argv) as pool:
            endpoint = (await pool.wait_for_line(r"session pool ready: (\S+)", timeout=60))[1]
            environ = environment(azurite.connection_string, endpoint, recipe_file)
            limits = {"PIPELINE_POOL_MAX_SESSIONS": str(sessions), "PIPELINE_EXECUTION_TIMEOUT": str(SECONDS)}
            async with opened({**environ, **limits}) as stack:
                yield stack, log


async def judged(stack: Stack, log: Path, files: Iterable[tuple[str, bytes]], at_once: int) -> Report:
    """Put every file through a job, some at a time."""
    report, waiting = Report(), iter(enumerate(files))

    async def work() -> None:
        for number, (name, body) in waiting:
            report.outcomes.append(await _one(stack, ("web", "kept")[number % 2], name, body))

    before = _deaths(log)
    await asyncio.gather(*(work() for _ in range(at_once)))
    report.lost = _deaths(log) - before
    return report


async def _one(stack: Stack, recipe: str, name: str, body: bytes) -> Outcome:
    await stack.drop(name, body)
    services, started = stack.services, time.perf_counter()
    try:
        entry = await services.executor.execute(services.settings.input_container, name, services.recipes.get(recipe))
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        kind = getattr(error, "kind", type(error).__name__)
        return Outcome(name, kind, time.perf_counter() - started, "retried")
    ends = "done" if entry.state == "done" else entry.error_kind
    wrong = "retried" if entry.attempts != 1 else _wrong(ends)
    return Outcome(name, ends, time.perf_counter() - started, wrong)


def _wrong(ends: str) -> str:
    """What is wrong with a failure of that kind: nothing, when it is about the source or what the recipe asks of it."""
    kinds = {"hang": HUNG, "crash": CRASHED, "foreign exception": FOREIGN}
    return next((word for word, members in kinds.items() if ends in members), "")


def _deaths(log: Path) -> int:
    """How often an interpreter died, so far."""
    lines = log.read_text().splitlines() if log.exists() else []
    return sum(json.loads(line)["event"] in ("kernel-restarted", "lost") for line in lines)
