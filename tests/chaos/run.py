"""Chaos run: a calm run for comparison, then faults during uploads, then calm and the check."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from devstack.azurite import KEY
from tests.chaos import attempts, faults, identity, platform, runs
from tests.chaos.checker import Checker, Found
from tests.chaos.pictures import BAD, GOOD, pictures
from tests.chaos.runs import Runs
from tests.chaos.scaled import SCALE
from tests.chaos.scene import LEASE, SESSIONS, Pace, Scene, opened, pipeline
from tests.chaos.sources import Sources, job_id
from tests.chaos.witness import Witness

ROUNDS = 3
Calm = dict[str, dict[str, dict[str, str]]]
JOB_FILE = re.compile(r"(in|out|report|job)-[0-9a-f]{6,}")

# Three times the former backoff is 30 s.
LONG_PACE = Pace(requeue_delay=10 / SCALE, schedule="*/10 * * * * *", schedule_max_jobs=60)


@dataclass(frozen=True)
class Plan:
    """Size of a run.

    `pause` is the time between two faults and `patience` the longest wait for the end, both in seconds. Every `slow`th
    fault is a slow one. With `seconds`, the faults continue for that time, regardless of `faults`. A `brief` run leaves
    the longest faults out, and starts a rollback before the deployment is complete. A run has `contents` valid contents
    and `deployments` steps of deployments.
    """

    images: int
    faults: int
    seed: int
    pause: float = 0.7
    slow: int = 10
    patience: float = 900
    seconds: float = 0
    brief: bool = False
    contents: int = GOOD
    deployments: int = 8
    pace: Pace = LONG_PACE


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
    waited: int = 0

    @property
    def violations(self) -> list[str]:
        """All violations of invariants."""
        return self.found.violations


Say = Callable[[str], None]


async def run(plan: Plan, folder: Path, say: Say = lambda _: None) -> Report:
    """Execute a chaos run; the logs remain in `folder`."""
    random, report, contents = Random(plan.seed), Report(plan), pictures(plan.contents)
    async with opened(folder, plan.pace) as scene:
        sources = Sources(scene, contents, random)
        try:
            calm = await _calm_run(scene, sources, report, say)
            checker = Checker(scene.account, sources, BAD, calm, scene.deployments)
            witness = Witness(checker, Runs(sources.drops, BAD, sources.asked_again, touches=sources.touches))
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
            report.waited, used_up = attempts.used_up(_requeued(scene), scene.outages)
            report.found.violations += used_up
            report.ran = runs.counted(runs.read(scene.runs_log).values())
        finally:
            await sources.close()
    return report


async def _calm_run(scene: Scene, sources: Sources, report: Report, say: Say) -> Calm:
    """Process uploads of each content without faults, in both recipe versions; return the renditions."""
    for content in sources.contents:
        await sources.drop(f"photos/calm/{content}.jpg", content)
    for content in sources.contents:
        if content not in BAD:
            await sources.drop(f"next/calm/{content}.jpg", content)
    for name in [name for name in sources.wanted if name.startswith("next/")]:
        del sources.wanted[name]
    checker = Checker(scene.account, sources, BAD, {}, scene.deployments)
    await _until(checker.settled, 300)
    calm: Calm = {}
    async with scene.account.async_blobs() as blobs:
        output = blobs.get_container_client("output")
        for version, place in (("first", "web/photos"), ("second", "next/next")):
            calm[version] = {}
            for content in sources.contents:
                made = [blob.name async for blob in output.list_blobs(name_starts_with=f"{place}/calm/{content}.jpg/")]
                calm[version][content] = {path.rsplit("/", 1)[1]: await _digest(output, path) for path in made}
    for version in calm.values():
        if any(len(made) != (0 if content in BAD else 2) for content, made in version.items()):
            raise AssertionError(f"the calm run made {calm}")
    say(f"calm run: {len(sources.contents)} contents")
    return calm


async def _digest(output: object, path: str) -> str:
    stream = await output.download_blob(path)  # type: ignore[attr-defined]
    return hashlib.sha256(await stream.readall()).hexdigest()


async def _storm(scene: Scene, sources: Sources, plan: Plan, report: Report, say: Say, witness: Witness) -> None:
    """Upload images while faults happen; the last upload precedes the last fault."""
    start = time.monotonic()
    left_out = faults.LONG if plan.brief else set[str]()
    random = Random(plan.seed)  # of its own, so that a seed always chooses the same faults
    quick, slow = _bag(faults.QUICK.keys(), random), _bag(faults.SLOW.keys() - left_out, random)
    deployments = {(step + 1) * plan.faults // (plan.deployments + 1) for step in range(plan.deployments)}
    turn, before = 0, len(sources.wanted)
    while turn < plan.faults or time.monotonic() - start < plan.seconds:
        wanted = plan.images * min(1.0, (turn + 8) / plan.faults)
        while len(sources.wanted) - before < max(wanted, turn * 3 if plan.seconds else 1):
            await sources.drop(sources.new_name(), sources.any_content())
        if turn in deployments:
            await _deploy(scene, sources, report, say, complete=not plan.brief)
        kind = next(slow if plan.slow and turn % plan.slow == plan.slow - 1 else quick)
        say(f"fault {turn + 1}: {kind}")
        with witness.harm(kind):
            await (faults.QUICK | faults.SLOW)[kind](scene, sources)
        report.injected[kind] += 1
        turn += 1
        await asyncio.sleep(plan.pause)
    await scene.calm()
    if any(scene.deployments.is_outdated(host.name) for host in scene.hosts):
        await _deploy(scene, sources, report, say)
    report.injected["clock of a host is wrong"] = 1
    report.injected["scheduled runs with less cap than work"] = 1
    report.took["storm"] = time.monotonic() - start


async def _deploy(scene: Scene, sources: Sources, report: Report, say: Say, *, complete: bool = True) -> None:
    kind = await platform.deploy(scene, sources, complete=complete)
    report.injected[kind] += 1
    say(kind)


def _bag(kinds: Iterable[str], random: Random) -> Iterator[str]:
    """Yield every kind in random order, one of each family first; then all of them again."""
    while True:
        drawn, seen = random.sample(sorted(kinds), len(list(kinds))), Counter[str]()
        places = {}
        for kind in drawn:
            family = kind.partition(":")[0]
            places[kind] = seen[family]
            seen[family] += 1
        yield from sorted(drawn, key=places.__getitem__)


async def _until_settled(checker: Checker, plan: Plan, report: Report, say: Say) -> None:
    start = time.monotonic()
    try:
        await _until(checker.settled, plan.patience)
    except TimeoutError:
        left = await asyncio.to_thread(checker.unsettled)
        report.found.violations.append(f"after {plan.patience:.0f} s, these have not ended: {', '.join(left[:9])}")
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
            query = {"api-version": platform.API, "identifier": str(slot["identifier"])}
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
    touched = Counter(name for _, name in sources.touches)
    deployed = len(sources.scene.deployed)
    allowed = {
        job_id(name): len(etags) + sources.retried[name] + touched[name] + deployed
        for name, etags in sources.versions.items()
    }
    return [
        f"job {job} ended {count} times and was requested {allowed.get(job, 0)} times"
        for job, count in ends.items()
        if count > allowed.get(job, 0)
    ]


def _requeued(scene: Scene) -> list[attempts.Requeued]:
    texts = [log.read_text(errors="replace") for log in scene.folder.glob("host-*.log")]
    return [line for text in texts for line in attempts.requeued(text, time.time())]


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
            await asyncio.sleep(1)
