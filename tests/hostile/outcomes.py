"""Process files as jobs in real sessions, and report their outcomes and violations."""

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
from tests.stack import Stack, environment, open_stack

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
EXECUTION_TIMEOUT_SECONDS = 30
"""An execution that takes longer hangs."""

HUNG = {"execution_timeout", "job_timeout", "transfer_timeout"}
CRASHED = {"session_died", "execution_interrupted", "session_lost", "session_replaced", "out_of_memory"}
FOREIGN = {"engine_failed", "bad_job", "transform_failed", "encode_failed", "bad_session_reply", "session_tainted"}


@dataclass(frozen=True)
class Outcome:
    """Outcome of a file: `done` or the kind of its failure, and the violation if there is one."""

    name: str
    result: str
    seconds: float
    violation: str = ""


@dataclass
class Report:
    """All outcomes, and the number of lost sessions."""

    outcomes: list[Outcome] = field(default_factory=list)
    lost: int = 0

    @property
    def violations(self) -> list[Outcome]:
        """Outcomes that must never happen."""
        return [outcome for outcome in self.outcomes if outcome.violation]

    def table(self) -> str:
        """Format the outcomes by kind: number of files, slowest file, and meaning."""
        lines = [f"{'outcome':<24} {'files':>7} {'slowest':>9}  meaning"]
        for result, count in Counter(outcome.result for outcome in self.outcomes).most_common():
            slowest = max(outcome.seconds for outcome in self.outcomes if outcome.result == result)
            meaning = KINDS[result].meaning if result in KINDS else "every rendition made" if result == "done" else ""
            lines.append(f"{result:<24} {count:>7,} {slowest:>7.2f} s  {meaning}")
        counts = Counter(outcome.violation for outcome in self.violations)
        words = ("hang", "crash", "foreign exception", "retried")
        lines.append(", ".join(f"{word}: {counts[word]}" for word in words) + f", worker death: {self.lost}")
        return "\n".join([*lines, *(f"  {each.violation}: {each.name} ({each.result})" for each in self.violations)])


@asynccontextmanager
async def local_stack(sessions: int) -> AsyncIterator[tuple[Stack, Path]]:
    """Yield services on a local stack, and the path of the session pool's log."""
    with tempfile.TemporaryDirectory() as folder:
        log, recipe_file = Path(folder, "pool.log"), Path(folder, "recipes.yaml")
        recipe_file.write_text(RECIPES)
        argv = [sys.executable, "-m", "devstack", "session-pool", "--max-sessions", str(sessions), "--log", log]
        async with emulator.running(data=None) as azurite, subprocesses.running("session pool", argv) as pool:
            endpoint = (await pool.wait_for_line(r"session pool ready: (\S+)", timeout=60))[1]
            environ = environment(azurite.connection_string, endpoint, recipe_file)
            limits = {
                "PIPELINE_POOL_MAX_SESSIONS": str(sessions),
                "PIPELINE_EXECUTION_TIMEOUT": str(EXECUTION_TIMEOUT_SECONDS),
            }
            async with open_stack({**environ, **limits}) as stack:
                yield stack, log


async def process_all(stack: Stack, log: Path, files: Iterable[tuple[str, bytes]], concurrency: int) -> Report:
    """Process every file as a job, `concurrency` at a time."""
    report, waiting = Report(), iter(enumerate(files))

    async def work() -> None:
        for number, (name, body) in waiting:
            report.outcomes.append(await _one(stack, ("web", "kept")[number % 2], name, body))

    before = _deaths(log)
    await asyncio.gather(*(work() for _ in range(concurrency)))
    report.lost = _deaths(log) - before
    return report


async def _one(stack: Stack, recipe: str, name: str, body: bytes) -> Outcome:
    await stack.upload(name, body)
    services, started = stack.services, time.perf_counter()
    try:
        entry = await services.executor.execute(services.settings.input_container, name, services.recipes.get(recipe))
    except Exception as error:  # noqa: BLE001 - any exception is a finding
        kind = getattr(error, "kind", type(error).__name__)
        return Outcome(name, kind, time.perf_counter() - started, "retried")
    result = "done" if entry.state == "done" else entry.error_kind
    violation = "retried" if entry.attempts != 1 else _violation(result)
    return Outcome(name, result, time.perf_counter() - started, violation)


def _violation(result: str) -> str:
    """Name the violation that a kind of failure stands for. Empty when it is about the source or the recipe."""
    kinds = {"hang": HUNG, "crash": CRASHED, "foreign exception": FOREIGN}
    return next((word for word, members in kinds.items() if result in members), "")


def _deaths(log: Path) -> int:
    """Count the deaths of interpreters so far."""
    lines = log.read_text().splitlines() if log.exists() else []
    return sum(json.loads(line)["event"] in ("kernel-restarted", "lost") for line in lines)
