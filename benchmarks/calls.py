"""Baseline: the storage and pool calls that an image needs, sent with the bare client libraries."""

from __future__ import annotations

import os
import secrets

import httpx
from azure.core import MatchConditions
from azure.data.tables.aio import TableServiceClient
from azure.storage.blob import ContentSettings
from azure.storage.blob.aio import BlobServiceClient

from benchmarks.meter import Measurement, Meter, execute_concurrently
from benchmarks.naive import VERSION, _run, _upload
from benchmarks.testbed import RENDITIONS, source_name


async def jobs(recipe: str, numbers: range, at_once: int, work: float) -> Measurement:
    """Read, insert a row, upload, execute, download, write, update the row and list it, as the ledger does.

    One of every `work` images has its own execution, since the pipeline executes microbatches.
    """
    identifier, table_name = secrets.token_hex(16), f"calls{secrets.token_hex(4)}"
    renditions = RENDITIONS[recipe]
    every = max(1, round(work))
    async with (
        httpx.AsyncClient(base_url=os.environ["PIPELINE_POOL_ENDPOINT"], timeout=120) as http,
        BlobServiceClient.from_connection_string(os.environ["IMAGES"]) as blobs,
        TableServiceClient.from_connection_string(os.environ["IMAGES"]) as tables,
    ):
        source, output = blobs.get_container_client("input"), blobs.get_container_client("calls")
        await output.create_container()
        table = await tables.create_table(table_name)
        await _run(http, identifier, "open('/mnt/data/out', 'wb').write(bytes(20_000))")
        query = {"api-version": VERSION, "identifier": identifier}

        async def job(number: int) -> None:
            data = await (await source.download_blob(source_name(recipe, number))).readall()
            row = {"PartitionKey": recipe, "RowKey": f"{number:05}", "state": "running", "report": "x" * 500}
            written = await table.create_entity(row)
            await _upload(http, identifier, data)
            if number % every == 0:
                await _run(http, identifier, "pass")
            for index in range(renditions):
                made = (await http.get("/files/out/content", params=query)).raise_for_status().content
                settings = ContentSettings(content_type="image/jpeg")
                await output.upload_blob(f"{number}/{index}", made, content_settings=settings, metadata={"a": "b"})
            unchanged = {"etag": written["etag"], "match_condition": MatchConditions.IfNotModified}
            listed = {"PartitionKey": recipe, "RowKey": f"~{number:05}", "state": "done"}
            await table.submit_transaction([("update", {**row, "report": "x" * 1500}, unchanged), ("upsert", listed)])

        await execute_concurrently(numbers[:4], 4, job)
        meter = Meter()
        await execute_concurrently(numbers[4:], at_once, job)
        told = meter.result(jobs=len(numbers) - 4)
        await http.delete("/session", params=query)
        await output.delete_container()
        await tables.delete_table(table_name)
    return told
