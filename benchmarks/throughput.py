"""Model of the jobs per second of one recipe that Azure's published limits allow, from the calls of a real run.

A run replaces the renditions of some hundred sources, on storage in memory that counts every call: each entity of a
transaction singly, for its partition in units of 1 KiB by Azure's formula, and each row that a range read returns. The
limits are those of "Scalability and performance targets" of storage accounts, tables and queues. Calls that depend on
time, and not on the number of jobs, are taken from the pool: leases, slots, metrics, and the rows that every instance
reads again.
"""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from typing_extensions import override

from benchmarks.figures import Scale
from benchmarks.table import Row, above
from pipeline.runs import Selection
from pipeline.services import Services
from pipeline.storage import DEFAULT_SHARDS, JobKey
from pipeline.testing import FakePool, MemoryAccount, memory_services, memory_settings
from pipeline.testing.entities import entity_size
from pipeline.testing.store import Op, Response

ACCOUNT_REQUESTS, PARTITION_UNITS, QUEUE_MESSAGES = 20_000, 2_000, 2_000
"""Requests per second of an account, KiB of entities per second of a partition, messages per second of a queue."""
SESSIONS, INSTANCES = 600, 75
# A lease of each slot every 20 s, its document and status, and the rows that an instance reads every 20 s.
REQUESTS_OF_TIME = SESSIONS * 3 / 20 + INSTANCES * 4 / 20
RECIPE = "web"
# Seconds of a session for an image: a crop of 0.4 megapixels in a microbatch, and a photo, as docs/cost.md assumes it.
LIGHT_SECONDS, PHOTO_SECONDS = 0.02, 0.4


@dataclass
class Calls:
    """Calls of a run. `messages` are puts, receipts and deletions; `units` are KiB of entities by partition."""

    requests: int = 0
    messages: int = 0
    units: Counter[str] = field(default_factory=Counter)

    def add(self, op: Op, response: Response) -> None:
        """Count a call and its response."""
        name, place, *values = op
        entities = _entities(name, place, values, response)
        self.requests += len(entities) if name == "rows" else 1
        for partition, size in entities:
            self.units[partition] += -(-size // 1024)
        if name.startswith("queue."):
            self.messages += 1


class CountingAccount(MemoryAccount):
    """An account in memory that counts the calls which depend on the number of jobs."""

    calls = Calls()
    state_container = "pipeline"

    @override
    async def _carry_out(self, op: Op) -> Response:
        response = await super()._carry_out(op)
        if not self._depends_on_time(op, response):
            self.calls.add(op, response)
        return response

    def _depends_on_time(self, op: Op, response: Response) -> bool:
        if op[0].startswith("lease") or str(op[1]).startswith(f"{self.state_container}/"):
            return True
        partitions = {partition for partition, _ in _entities(op[0], op[1], list(op[2:]), response)}
        kept = f"{op[1]}/{RECIPE}~", f"{op[1]}/run"
        return bool(partitions) and not all(partition.startswith(kept) for partition in partitions)


def _entities(name: str, place: str, values: list[Any], response: Response) -> list[tuple[str, int]]:
    """Return the partition and the size of each entity that a call to a table writes or reads."""
    if name == "rows":
        rows = [dict(items) for _, items, _ in values[0]]
    elif name == "row.query":
        rows = [dict(row.items) for row in (response.value or ((), None))[0]]
        named = [each[2] for each in values[0] if each[0] == "PartitionKey"]
        rows = rows or [{"PartitionKey": each, "RowKey": ""} for each in named]
    elif name == "row.get":
        rows = [dict(response.value.items)] if response.value else [{"PartitionKey": values[0], "RowKey": ""}]
    elif name.startswith("row."):
        rows = [dict(values[0])]
    else:
        return []
    return [(f"{place}/{row['PartitionKey']}", entity_size(row) + _longer_etags(row)) for row in rows]


def _longer_etags(row: Mapping[str, Any]) -> int:
    """Return the bytes by which a row of a job is larger on Azure, where an ETag has 14 characters more."""
    if "source_etag" not in row:
        return 0
    renditions = len(row.get("outputs", "").split())
    return 14 * (2 + 2 * renditions + renditions)  # in texts of two bytes for a character, and in compressed documents


async def throughput(scale: Scale) -> list[Row]:
    """Compute the jobs per second of light images with one and with three renditions, and of photos."""
    count = max(200, round(960 * scale.size))
    one, three = await counted_run(count, 1), await counted_run(count, 3)
    return [
        _row("17 light images, 1 rendition", one, count, LIGHT_SECONDS, 3_200),
        _row("17 light images, 3 renditions", three, count, LIGHT_SECONDS, 2_400),
        _row("17 photos of 0.4 s, 3 renditions", three, count, PHOTO_SECONDS, SESSIONS / PHOTO_SECONDS),
    ]


async def counted_run(count: int, renditions: int) -> Calls:
    """Process `count` sources, and count the calls of a second run that replaces their renditions."""
    names = "".join(f"      r{number}: {{format: jpeg}}\n" for number in range(renditions))
    recipes = f"recipes:\n  {RECIPE}:\n    match: {{include: ['photos/**']}}\n    renditions:\n{names}"
    settings = memory_settings(run_max_jobs=count, run_max_cost=1_000_000, pool_max_sessions=8)
    account = CountingAccount()
    account.state_container = settings.state_container
    async with memory_services(settings, recipes, account=account, pool=FakePool(8), shards=DEFAULT_SHARDS) as services:
        data = io.BytesIO()
        Image.new("RGB", (16, 12), "teal").save(data, "JPEG")
        for number in range(count):
            name = f"photos/2026/11/holiday-{number:06}.jpg"
            await services.sources.put(settings.input_container, name, data.getvalue(), "image/jpeg")
        for _ in range(2):
            account.calls = Calls()
            selection = Selection(recipes=(RECIPE,), reasons=("new", "done"))
            run = await services.runs.start(selection, expected_count=count)
            await _process(services, account)
            finished = await services.runs.get(run.id)
            if finished.progress.done != count:
                raise SystemExit(f"{finished.progress.done} of {count} jobs are done")
    return account.calls


async def _process(services: Services, account: MemoryAccount) -> None:
    """Deliver the messages of the run, as the host does: each is received and deleted by itself."""
    queue = account.queue(services.settings.run_queue)
    while message := await anext(aiter(queue.receive_messages(messages_per_page=1)), None):
        await queue.delete_message(message)
        await services.run_worker.handle_message(message.content)
        await asyncio.sleep(0)


def limits(calls: Calls, count: int, seconds: float) -> Mapping[str, float]:
    """Return the jobs per second that each limit allows."""
    ledger = sum(units for partition, units in calls.units.items() if f"/{RECIPE}~" in partition)
    others = max((units for partition, units in calls.units.items() if f"/{RECIPE}~" not in partition), default=0)
    return {
        "sessions": SESSIONS / seconds,
        "account": (ACCOUNT_REQUESTS - REQUESTS_OF_TIME) / (calls.requests / count),
        "ledger partition": PARTITION_UNITS * DEFAULT_SHARDS / (ledger / count * _skew()),
        "run partition": PARTITION_UNITS / (others / count),
        "run queue": QUEUE_MESSAGES / (calls.messages / count),
    }


def _skew() -> float:
    """Return the share of the fullest shard of a large library, as a multiple of the mean."""
    keys = (JobKey.of(RECIPE, "input", f"photos/2026/11/holiday-{number:06}.jpg") for number in range(100_000))
    counts = Counter(key.partition(DEFAULT_SHARDS) for key in keys)
    return max(counts.values()) * DEFAULT_SHARDS / 100_000


def _row(what: str, calls: Calls, count: int, seconds: float, goal: float) -> Row:
    found = sorted(limits(calls, count, seconds).items(), key=lambda each: each[1])
    for name, rate in found:
        print(f"   {what}: {name:<18}{rate:>10,.0f} jobs/s")
    name, rate = found[0]
    return above(f"{what}: {name} binds", rate, "/s", goal)
