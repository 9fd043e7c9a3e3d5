"""Chaos run: a calm run for comparison, then faults during uploads, then calm and the check."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from devstack.azurite import KEY
from tests.chaos import faults, identity, runs
from tests.chaos.checker import Checker, Found
from tests.chaos.pictures import BAD, pictures
from tests.chaos.runs import Runs
from tests.chaos.scene import LEASE, SESSIONS, Scene, opened, pipeline
from tests.chaos.sources import Sources, job_id
from tests.chaos.witness import Witness

ROUNDS = 3
JOB_FILE = re.compile(r"(in|out|report|job)-[0-9a-f]{6,}")


@dataclass(frozen=True)
class Plan:
    """Size of a run.

    `pause` is the time between two faults and `patience` the longest wait for the end, both in seconds. A `slow` fault
    follows this many quick ones. With `seconds`, the faults continue for that time, regardless of `faults`.
    """

    images: int
    faults: int
    seed: int
    pause: float = 0.7
    slow: int = 6
    patience: float = 900
    seconds: float = 0


@dataclass
class Report:
    """Report of a run: injected faults, recoveries and violations."""

    plan: Plan
    injected: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    found: Found = field(default_factory=Found)
    recoveries: Counter[str] = field(default_factory=Counter)
    repaired: int = 0
    took: dict[str, float] = field(default_factory=dict)
    ran: dict[str, int] = field(default_factory=dict)

    @property
    def violations(self) -> list[str]:
        """All violations of invariants."""
        return self.found.violations


Say = Callable[[str], None]


async def run(plan: Plan, folder: Path, say: Say = lambda _: None) -> Report:
    """Execute a chaos run; the logs remain in `folder`."""
    random, report, contents = Random(plan.seed), Report(plan), pictures()
    async with opened(folder) as scene:
        sources = Sources(scene, contents, random)
        try:
            calm = await _calm_run(scene, sources, report, say)
            checker = Checker(scene.account, sources.wanted, BAD, calm)
            witness = Witness(checker, Runs(sources.drops, BAD, sources.asked_again))
            async with witness.watching():
                await _storm(scene, sources, plan, report, say, witness)
                await _until_settled(checker, plan, report, say)
                await _repaired(checker, sources, plan, report, say)
                await _repeat_events(checker, sources, plan, report, say)
            await _closed(scene, sources, checker, report, say)
            found = await asyncio.to_thread(checker.check)
            found.violations += report.found.violations
            report.found = found
            _read_logs(scene, sources, report)
            report.found.violations += witness.judge(scene) + _secrets(scene, checker.kept())
            report.ran = runs.counted(runs.read(scene.runs_log).values())
        finally:
            await sources.close()
    return report


async def _calm_run(scene: Scene, sources: Sources, report: Report, say: Say) -> dict[str, dict[str, str]]:
    """Process one upload of each content without faults; return the renditions."""
    names = {content: f"photos/calm/{content}.jpg" for content in sources.contents}
    for content, name in names.items():
        await sources.drop(name, content)
    checker = Checker(scene.account, sources.wanted, BAD, {})
    await _until(checker.settled, 300)
    async with scene.account.async_blobs() as blobs:
        output, calm = blobs.get_container_client("output"), {}
        for content, name in names.items():
            made = [blob.name async for blob in output.list_blobs(name_starts_with=f"web/{name}/")]
            calm[content] = {path.rsplit("/", 1)[1]: await _digest(output, path) for path in made}
    if any(len(made) != (0 if content in BAD else 2) for content, made in calm.items()):
        raise AssertionError(f"the calm run made {calm}")
    say(f"calm run: {len(calm)} contents")
    return calm


async def _digest(output: object, path: str) -> str:
    stream = await output.download_blob(path)  # type: ignore[attr-defined]
    return hashlib.sha256(await stream.readall()).hexdigest()


async def _storm(scene: Scene, sources: Sources, plan: Plan, report: Report, say: Say, witness: Witness) -> None:
    """Upload images while faults happen; the last upload precedes the last fault."""
    start = time.monotonic()
    await sources.drop("photos/0000.jpg", sources.any_content())
    number, turn = 1, 0
    quick, slow = _bag(faults.QUICK, sources.random), _bag(faults.SLOW, sources.random)
    while turn < plan.faults or time.monotonic() - start < plan.seconds:
        while number < plan.images * min(1.0, (turn + 8) / plan.faults) or (plan.seconds and number < turn * 3):
            await sources.drop(f"photos/{number:04d}.jpg", sources.any_content())
            number += 1
        is_slow = plan.slow and turn % plan.slow == plan.slow - 1
        kind = next(slow if is_slow else quick)
        say(f"fault {turn + 1}: {kind}")
        with witness.harm(kind):
            await (faults.SLOW if is_slow else faults.QUICK)[kind](scene, sources)
        report.injected[kind] += 1
        turn += 1
        await asyncio.sleep(plan.pause)
    await scene.calm()
    report.injected["clock of a host is wrong"] = 1
    report.took["storm"] = time.monotonic() - start


def _bag(kinds: dict[str, faults.Fault], random: Random):  # noqa: ANN202 - an endless iterator of names
    """Yield every kind in random order, then all of them again."""
    while True:
        yield from random.sample(sorted(kinds), len(kinds))


async def _until_settled(checker: Checker, plan: Plan, report: Report, say: Say) -> None:
    start = time.monotonic()
    try:
        await _until(checker.settled, plan.patience)
    except TimeoutError:
        report.found.violations.append(f"work continues {plan.patience:.0f} s after the last fault")
    report.took["settling"] = time.monotonic() - start
    say(f"settled after {report.took['settling']:.0f} s")


async def _repaired(checker: Checker, sources: Sources, plan: Plan, report: Report, say: Say) -> None:
    """Retry failures that faults have caused, as an operator does, until all jobs are done.

    Several rounds are necessary: jobs detect harmed sessions only when they use them.
    """
    for _ in range(ROUNDS):
        failed = (await asyncio.to_thread(checker.check)).failed
        for name, why in failed.items():
            say(f"failed, and is tried again: {name}: {why[:150]}")
            await sources.again(name)
        if not failed:
            return
        await asyncio.sleep(5)
        await _until_settled(checker, plan, report, say)
        report.repaired += len(failed)
    still = (await asyncio.to_thread(checker.check)).failed
    report.found.violations += [f"{name} failed again, in a calm: {why}" for name, why in still.items()]


async def _repeat_events(checker: Checker, sources: Sources, plan: Plan, report: Report, say: Say) -> None:
    """Repeat every event and message about an invalid file without faults: its failure must not change."""
    broken = [name for name, content in sources.wanted.items() if content in BAD]
    for name in broken:
        await sources.event(name, sources.versions[name][-1])
        await sources.message(name)
    say(f"repeated the events of {len(broken)} invalid images")
    await _until_settled(checker, plan, report, say)


async def _closed(scene: Scene, sources: Sources, checker: Checker, report: Report, say: Say) -> None:
    """Stop the hosts. Then no session may hold a job's files, and `drain` must end all sessions.

    A slot of a killed host is free after its lease has expired.
    """
    await asyncio.gather(*(host.stop() for host in scene.hosts))
    with contextlib.suppress(TimeoutError):
        await _until(lambda: not checker.leased(), LEASE + 1)
    for slot in await sources.slots():
        if slot.get("state") == "free" and slot.get("identifier"):
            query = {"api-version": faults.API, "identifier": str(slot["identifier"])}
            listed = (await scene.call("GET", "/files", params=query)).json()
            files = [file["name"] for file in listed.get("value", []) if JOB_FILE.match(file["name"])]
            report.found.violations += [f"a session that was given back holds {name}" for name in files]
    await pipeline(scene.environ, "drain")

    async def nobody() -> bool:
        return (await scene.call("GET", "/")).json()["alive"] == 0

    try:
        await _until(nobody, 90)
    except TimeoutError:
        report.found.violations.append("sessions are left after `drain`")
    say("closed")


def _read_logs(scene: Scene, sources: Sources, report: Report) -> None:
    """Read the logs: faults that struck, recoveries, and signs of excess."""
    events = scene.pool_events()
    for event in events:
        if event["event"] == "fault":
            report.struck[f"pool: {str(event['fault']).split(',')[0]}"] += 1
    for name, proxy in scene.proxies.items():
        report.struck.update({f"storage ({name}): {fault}": count for fault, count in proxy.struck.items()})
    report.struck.update({f"identity: {fault}": count for fault, count in scene.identity.struck.items()})
    peak = max(int(event["alive"]) for event in events if "alive" in event)
    if peak > SESSIONS:
        report.found.violations.append(f"{peak} sessions in a pool of {SESSIONS}")
    text = "\n".join(log.read_text(errors="replace") for log in scene.folder.glob("host-*.log"))
    for name, pattern in RECOVERIES.items():
        report.recoveries[name] = len(re.findall(pattern, text))
    report.found.violations += _too_often(text, sources)


RECOVERIES = {
    "done": r"event=job\.done ",
    "retried in a fresh session": r"event=job\.session_lost ",
    "uploaded again": r"event=job\.reuploaded ",
    "retried later": r"event=job\.requeued ",
    "waited for a session": r"event=job\.deferred ",
    "superseded": r"event=(job|source)\.superseded ",
    "already done, or claimed by another worker": r"event=job\.skipped ",
    "session recycled": r"event=session\.recycled ",
    "session left to cool down": r"event=session\.end_failed ",
    "slot lost": r"event=slot\.renewal_failed ",
    "had no token": r"no token(:| \()",
    "bug": r"event=(job\.crashed|slot\.broken|request\.failed|console\.(crashed|page_failed)) ",
}


def _too_often(text: str, sources: Sources) -> list[str]:
    """Return jobs with more recorded ends than versions: processed twice, or an invalid file retried."""
    ends = Counter(re.findall(r"\[(web\.[\w-]+)\] (?:done: |failed at )", text))
    allowed = {job_id(name): len(etags) + sources.retried[name] for name, etags in sources.versions.items()}
    return [
        f"job {job} ended {count} times and was requested {allowed.get(job, 0)} times"
        for job, count in ends.items()
        if count > allowed.get(job, 0)
    ]


def _secrets(scene: Scene, kept: str) -> list[str]:
    """Return logs and stored texts that contain a session identifier, a key or a token."""
    secrets = {*runs.identifiers(scene.runs_log), KEY, identity.OPENING, scene.environ["IDENTITY_HEADER"]}
    texts = {log.name: log.read_text(errors="replace") for log in scene.folder.glob("*.log")} | {"storage": kept}
    return [f"{name} holds a secret" for name, text in texts.items() if any(secret in text for secret in secrets)]


async def _until(holds: Callable[[], object], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while True:
            held = holds() if asyncio.iscoroutinefunction(holds) else asyncio.to_thread(holds)
            if await held:  # type: ignore[misc]
                return
            await asyncio.sleep(0.5)
