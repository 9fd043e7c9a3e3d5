"""Baseline: a naive client. For each image a lease, upload, execution, metadata and download, one after another."""

from __future__ import annotations

import asyncio
import json
import os
import secrets

import httpx
from azure.storage.blob.aio import BlobServiceClient

from benchmarks.meter import Measurement, Meter, execute_concurrently
from benchmarks.testbed import source_name

PROGRAM = """
import time
from PIL import Image
with Image.open("/mnt/data/in.jpg") as image:
    image = image.convert("RGB")
if {heavy}:
    for index, side in enumerate((1600, 800, 400)):
        image.thumbnail((side, 10000), Image.Resampling.LANCZOS)
        image.save("/mnt/data/out%d" % index, "WEBP", quality=80)
else:
    image.crop((50, 0, 350, 300)).save("/mnt/data/out0", "JPEG", quality=80)
time.sleep({work})
"""
VERSION = "2025-10-02-preview"


async def jobs(recipe: str, numbers: range, at_once: int, work: float) -> Measurement:
    """Execute jobs in as many sessions as there are jobs at once. All sessions start before the measurement."""
    files = [f"out{index}" for index in range(3 if recipe == "heavy" else 1)]
    code = PROGRAM.format(heavy=recipe == "heavy", work=work)
    free = [secrets.token_hex(16) for _ in range(at_once)]
    async with (
        httpx.AsyncClient(base_url=os.environ["PIPELINE_POOL_ENDPOINT"], timeout=120) as http,
        BlobServiceClient.from_connection_string(os.environ["IMAGES"]) as blobs,
    ):
        source, output, slots = (blobs.get_container_client(each) for each in ("input", "naive", "naive-slots"))
        for container in (output, slots):
            await container.create_container()
        for identifier in free:
            await slots.upload_blob(identifier, b"")
        await asyncio.gather(*(_run(http, identifier, "from PIL import Image") for identifier in free))

        async def job(number: int) -> None:
            identifier = free.pop()
            lease = await slots.get_blob_client(identifier).acquire_lease(60)
            data = await (await source.download_blob(source_name(recipe, number))).readall()
            await _upload(http, identifier, data)
            await _run(http, identifier, code)
            for file in files:
                query = {"api-version": VERSION, "identifier": identifier}
                (await http.get(f"/files/{file}", params=query)).raise_for_status()
                made = (await http.get(f"/files/{file}/content", params=query)).raise_for_status().content
                await output.upload_blob(f"{number}/{file}", made, overwrite=True)
            await lease.release()
            free.append(identifier)

        meter = Meter()
        await execute_concurrently(numbers, at_once, job)
        told = meter.result(jobs=len(numbers))
        for identifier in free:
            await http.delete("/session", params={"api-version": VERSION, "identifier": identifier})
        for container in (output, slots):
            await container.delete_container()
    return told


async def _upload(http: httpx.AsyncClient, identifier: str, data: bytes) -> None:
    query = {"api-version": VERSION, "identifier": identifier}
    answer = await http.post("/files", params=query, files={"file": ("in.jpg", data)})
    answer.raise_for_status()


async def _run(http: httpx.AsyncClient, identifier: str, code: str) -> None:
    query = {"api-version": VERSION, "identifier": identifier}
    body = {"codeInputType": "Inline", "executionType": "Synchronous", "code": code, "timeoutInSeconds": 60}
    answer = await http.post("/executions", params=query, json=body)
    if answer.raise_for_status().json()["status"] != "Succeeded":
        raise SystemExit(json.dumps(answer.json())[:500])
