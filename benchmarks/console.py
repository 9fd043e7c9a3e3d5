"""Measure the console's pages with many rows in the ledger, on the local stack.

    python -m benchmarks.console [--rows 100000] [--visits 15]

Each job has its row and its list row, as the ledger writes them, in the shards of the local stack: nine of ten are
done, one has failed. The goal for each page is a median of 300 ms. On a busy machine compare the processor time, which
is that of host and storage together. Memory is that of the function host, before and after all visits.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import os
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
from azure.data.tables import EntityProperty

from devstack import azurite, subprocesses
from devstack.stack import LEDGER_SHARDS
from devstack.state import ROOT
from pipeline.storage.entry import Entry, Version
from pipeline.storage.keys import JobKey
from pipeline.storage.list_row import list_row

BAR = 300.0
BATCH = 50  # each job is two rows, and a transaction takes a hundred
AT_ONCE = 4
RECIPE = "web"
KINDS = ("not_an_image", "damaged_image", "too_many_pixels", "crop_outside")


def entry(number: int, rows: int, start: datetime) -> Entry:
    """Return a finished job like those of the pipeline."""
    name = f"album-{number % 50:02d}/photo-{number:06d}.jpg"
    failed = number % 10 == 0
    renditions = [
        {"name": each, "path": f"web/{name}/{each}", "format": "webp", "size": 40_000, "sha256": "0" * 64,
         "width": 800, "height": 600}
        for each in ("large", "small", "thumb")
    ]  # fmt: skip
    made = Entry(
        key=JobKey.of(RECIPE, "input", name),
        container="input",
        name=name,
        state="failed" if failed else "done",
        version=Version("0x1", "f" * 64),
        generation=1,
        since=start - timedelta(seconds=rows - number),
        attempts=1,
        error_kind=KINDS[number // 10 % len(KINDS)] if failed else "",
        error_message="something is wrong with it" if failed else "",
        stage="execute" if failed else "",
        bytes_in=0 if failed else 3_000_000,
        bytes_out=0 if failed else 120_000,
        ms={"acquire": 1.0, "upload": 20.0, "execute": 300.0, "download": 15.0, "commit": 20.0},
        renditions=[] if failed else renditions,
    )
    return Entry(**{**vars(made), "listed": made.list_key})


async def fill(connection: str, table: str, rows: int) -> float:
    """Write the rows without the SDK, which takes four times as long. Return the duration in seconds."""
    started, now = time.perf_counter(), datetime.now(UTC)
    said = dict(part.split("=", 1) for part in connection.split(";") if part)
    turns = asyncio.Semaphore(AT_ONCE)
    async with httpx.AsyncClient(timeout=120) as client:

        async def write(jobs: Sequence[Entry], partition: str) -> None:
            async with turns:
                written = [row for each in jobs for row in (each.to_row(partition), list_row(each, partition))]
                answer = await client.post(**batch(said, table, written))
                if answer.status_code != httpx.codes.ACCEPTED or "HTTP/1.1 4" in answer.text:
                    raise SystemExit(f"rows cannot be written: {answer.text[:1000]}")

        async def write_shard(partition: str, numbers: list[int]) -> None:
            for first in range(0, len(numbers), BATCH):
                await write([entry(number, rows, now) for number in numbers[first : first + BATCH]], partition)

        shards: dict[str, list[int]] = {}
        for number in range(rows):
            shards.setdefault(entry(number, rows, now).key.partition(int(LEDGER_SHARDS)), []).append(number)
        await asyncio.gather(*(write_shard(*each) for each in shards.items()))
    return time.perf_counter() - started


def batch(account: dict[str, str], table: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a request that inserts rows of one partition (Microsoft, "Performing entity group transactions")."""
    url = f"{account['TableEndpoint']}/{table}"
    parts = [
        "--changeset_a\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        f"POST {url} HTTP/1.1\r\nContent-Type: application/json\r\nAccept: application/json;odata=minimalmetadata\r\n"
        f"Prefer: return-no-content\r\nDataServiceVersion: 3.0;\r\n\r\n{json.dumps(typed(row))}\r\n"
        for row in rows
    ]
    body = "--batch_a\r\nContent-Type: multipart/mixed; boundary=changeset_a\r\n\r\n" + "".join(parts)
    date = format_datetime(datetime.now(UTC), usegmt=True)
    name = account["AccountName"]
    key = base64.b64decode(account["AccountKey"])
    seal = hmac.new(key, f"{date}\n/{name}/{name}/$batch".encode(), hashlib.sha256).digest()
    headers = {
        "Authorization": f"SharedKeyLite {name}:{base64.b64encode(seal).decode()}",
        "x-ms-date": date,
        "x-ms-version": "2019-02-02",
        "DataServiceVersion": "3.0;",
        "MaxDataServiceVersion": "3.0;NetFx",
        "Content-Type": "multipart/mixed; boundary=batch_a",
    }
    return {
        "url": f"{account['TableEndpoint']}/$batch",
        "content": f"{body}--changeset_a--\r\n--batch_a--\r\n".encode(),
        "headers": headers,
    }


def typed(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as JSON, with type annotations for times and large numbers."""
    times = {name: value for name, value in row.items() if isinstance(value, datetime)}
    large = {name: value for name, value in row.items() if isinstance(value, EntityProperty)}
    binary = {name: value for name, value in row.items() if isinstance(value, bytes)}
    return {
        **row,
        **{name: value.isoformat(timespec="milliseconds").replace("+00:00", "Z") for name, value in times.items()},
        **{name: str(value.value) for name, value in large.items()},
        **{name: base64.b64encode(value).decode() for name, value in binary.items()},
        **{f"{name}@odata.type": "Edm.DateTime" for name in times},
        **{f"{name}@odata.type": "Edm.Binary" for name in binary},
        **{f"{name}@odata.type": "Edm.Int64" for name in large},
    }


def pages(rows: int) -> dict[str, str]:
    """Return the visited paths by page name."""
    job = entry(rows // 2 + 1, rows, datetime.now(UTC)).key.id
    middle = f"{datetime.now(UTC) - timedelta(seconds=rows // 2):%Y-%m-%dT%H:%M}"
    return {
        "overview": "",
        "jobs, newest": "/jobs",
        "jobs, in the middle": f"/jobs?before={middle}",
        "jobs, failed": "/jobs?state=failed",
        "jobs, by name": "/jobs?name=album-25/photo-05",
        "a job": f"/jobs/{job}",
        "failures": "/failures",
        "failures of a kind": "/failures?kind=crop_outside",
        "recipes": "/recipes",
        "pool": "/pool",
    }


async def measure(rows: int, visits: int) -> bool:
    """Print the table. Return whether all pages meet the goal."""
    async with azurite.running(None) as storage:
        settings = {
            "AzureWebJobsStorage": storage.connection_string,
            "IMAGES": storage.connection_string,
            "PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1",
            "PIPELINE_CONSOLE_ACCESS": "open",
        }
        argv = [sys.executable, "-m", "pipeline", "init", "--ledger-shards", LEDGER_SHARDS]
        async with subprocesses.running("init", argv, env=settings, cwd=ROOT) as init:
            await init.wait_for_exit()
        seconds = await fill(storage.connection_string, "ledger", rows)
        print(f"{rows:,} jobs written in {seconds:.0f} s\n")
        argv = [sys.executable, "-m", "devstack", "host", "--app", str(ROOT), "--port", "0"]
        async with subprocesses.running("host", argv, env=settings, cwd=ROOT) as host:
            url = (await host.wait_for_line(r"function host ready: (\S+)", 60))[1]
            async with httpx.AsyncClient(timeout=60) as client:
                pids = (host.pid, storage.process.pid)
                return await visit(client, f"{url}/api/console", pids, pages(rows), visits)


async def visit(
    client: httpx.AsyncClient, console: str, pids: tuple[int, int], found: dict[str, str], visits: int
) -> bool:
    """Visit the pages in turns, so that other load on the machine affects all of them."""
    times: dict[str, list[float]] = {name: [] for name in found}
    sizes: dict[str, int] = {}
    used = dict.fromkeys(found, 0.0)
    for path in found.values():  # the first visit creates clients and templates
        (await client.get(console + path)).raise_for_status()
    before = memory(pids[0])
    for _ in range(visits):
        for name, path in found.items():
            started, before_it = time.perf_counter(), processor(pids)
            answer = await client.get(console + path)
            times[name].append((time.perf_counter() - started) * 1000)
            used[name] += processor(pids) - before_it
            sizes[name] = len(answer.raise_for_status().content)
    print(f"{'page':<22}{'p50 ms':>9}{'worst ms':>10}{'processor ms':>14}{'KB':>8}")
    for name, each in times.items():
        shown = f"{statistics.median(each):>9.0f}{max(each):>10.0f}{used[name] / visits:>14.0f}"
        print(f"{name:<22}{shown}{sizes[name] / 1000:>8.1f}")
    after = memory(pids[0])
    mb = [each / 1e6 for each in (before, after)]
    print(f"\nmemory of the host: {mb[0]:.0f} MB before, {mb[1]:.0f} MB after {visits * len(found)} visits")
    well = all(statistics.median(each) <= BAR for each in times.values())
    light = all(each / visits <= BAR for each in used.values())
    print(f"every page under {BAR:.0f} ms: at the median {_yes(well)}, by processor time {_yes(light)}")
    return light


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "NO"


def processor(pids: Iterable[int]) -> float:
    """Return the processor time of processes in milliseconds, which other load hardly affects."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Measure, and exit with 1 if a page takes more processor time than the goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--visits", type=int, default=15)
    given = parser.parse_args()
    sys.exit(not asyncio.run(measure(given.rows, given.visits)))


if __name__ == "__main__":
    main()
