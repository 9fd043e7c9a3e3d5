"""HTTP requests of a chaos run, and the check that each job of a request ends."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from tests.chaos.pictures import marked
from tests.chaos.sources import Drop, Sources

RECIPE, RENDITION = "asked", "small.webp"
WAIT = 30


async def send(sources: Sources, address: str) -> None:
    """Send an image to a host, and wait for its job. The host may die meanwhile."""
    content = sources.good_content()
    name = f"request-{len(sources.requested):04d}.jpg"
    mark = f"{name}#0"
    sources.requested[name] = content
    sources.drops[mark] = Drop(name, content, "")
    url = f"{address}/api/jobs?recipe={RECIPE}&name={name}"
    headers = {"Content-Type": "image/jpeg", "Prefer": f"wait={WAIT}"}
    async with httpx.AsyncClient(timeout=2 * WAIT, trust_env=False) as client:
        with contextlib.suppress(httpx.HTTPError):
            response = await client.post(url, content=marked(sources.contents[content], mark), headers=headers)
            if response.status_code in (200, 202):
                sources.answered.add(name)


def violations(
    rows: list[dict[str, Any]], outputs: Mapping[str, bytes], sources: Sources, calm: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    """Return requests whose job is lost or has not ended, or whose rendition is not that of a calm run."""
    found = {row["name"].rsplit("/", 1)[-1] for row in rows}
    yield from (f"{name} was answered, and has no job" for name in sorted(sources.answered - found))
    for row in rows:
        name = row["name"]
        data = outputs.get(f"{RECIPE}/{name}/{RENDITION}", b"")
        content = sources.requested[name.rsplit("/", 1)[-1]]
        if row["state"] != "done":
            yield f"the request for {name} is {row['state']} {row.get('error_kind', '')}"
        elif hashlib.sha256(data).hexdigest() != calm[content][RENDITION]:
            yield f"the rendition of the request for {name} is not that of a calm run"
