"""Leader election by blob lease: one host at a time scans containers and runs a timer."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from azure.core.exceptions import AzureError
from azure.storage.blob.aio import BlobClient, BlobLeaseClient

log = logging.getLogger(__name__)
# The shortest lease that storage grants. Other hosts wait this long after the leader is killed.
LEASE_DURATION_SECONDS = 15
LEASE_RENEWAL_INTERVAL_SECONDS = 5.0
LEASE_RETRY_INTERVAL_SECONDS = 1.0


class _LeaseLostError(Exception):
    pass


async def run_while_leader(blob: BlobClient, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `work` while this host holds the lease of `blob`. Run it again after each re-election, until cancelled."""
    while True:
        lease = await _acquire(blob)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_renew(lease))
                await work()
        except* _LeaseLostError:
            log.warning("lost the lease of %s: another host may be the leader now", blob.blob_name)
        finally:
            with contextlib.suppress(AzureError):
                await lease.release()


async def _acquire(blob: BlobClient) -> BlobLeaseClient:
    with contextlib.suppress(AzureError):
        await blob.upload_blob(b"", overwrite=False)
    while True:
        try:
            return await blob.acquire_lease(LEASE_DURATION_SECONDS)
        except AzureError as error:
            if getattr(error, "status_code", None) != HTTPStatus.CONFLICT:  # another host is the leader
                log.warning("cannot acquire the lease of %s: %s", blob.blob_name, error)
        await asyncio.sleep(LEASE_RETRY_INTERVAL_SECONDS)


async def _renew(lease: BlobLeaseClient) -> None:
    while True:
        await asyncio.sleep(LEASE_RENEWAL_INTERVAL_SECONDS)
        try:
            await lease.renew()
        except AzureError as error:
            raise _LeaseLostError from error
