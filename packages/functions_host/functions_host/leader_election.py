"""What only one host at a time may do: a blob lease decides which."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from azure.core.exceptions import AzureError
from azure.storage.blob.aio import BlobClient, BlobLeaseClient

log = logging.getLogger("host")
LEASE = 15  # seconds, the shortest that there is: how long the others wait for a host that was killed
RENEW = 5.0
RETRY = 1.0


class _LeaseLost(Exception):  # noqa: N818 - a state
    pass


async def alone(blob: BlobClient, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do `work` while this host holds the lease of `blob`, and again whenever it gets it back; until cancelled."""
    while True:
        lease = await _acquired(blob)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_renew(lease))
                await work()
        except* _LeaseLost:
            log.warning("another host may have taken over %s", blob.blob_name)
        finally:
            with contextlib.suppress(AzureError):
                await lease.release()


async def _acquired(blob: BlobClient) -> BlobLeaseClient:
    with contextlib.suppress(AzureError):
        await blob.upload_blob(b"", overwrite=False)
    while True:
        try:
            return await blob.acquire_lease(LEASE)
        except AzureError as error:
            if getattr(error, "status_code", None) != HTTPStatus.CONFLICT:  # another host has it
                log.warning("the lease of %s cannot be had: %s", blob.blob_name, error)
        await asyncio.sleep(RETRY)


async def _renew(lease: BlobLeaseClient) -> None:
    while True:
        await asyncio.sleep(RENEW)
        try:
            await lease.renew()
        except AzureError as error:
            raise _LeaseLost from error
