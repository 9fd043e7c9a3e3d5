"""In-memory storage and Azurite respond alike to long random sequences of calls."""

from __future__ import annotations

import random
import secrets
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.data.tables import TableTransactionError, UpdateMode
from azure.storage.blob import BlobBlock

from pipeline.settings import Settings
from pipeline.storage.account import Account
from pipeline.testing.clients import Clients
from pipeline.testing.operations import apply
from pipeline.testing.store import Op, Response, Store

NAMES, KEYS, BLOCKS, STEPS = ("a", "b"), ("x", "y"), ("MDA=", "MDE="), 150


class Player:
    """Makes random calls through the SDK's clients: the same calls for the same seed, while the responses agree."""

    def __init__(self, account: Any, settings: Settings, seed: int) -> None:
        self._random = random.Random(seed)
        self._container = account.container(settings.output_container)
        self._table = account.table(settings.ledger_table)
        self._etags: dict[str, str] = {}
        self._leases: dict[str, Any] = {}
        self._released: set[Any] = set()
        self._overwritten: set[str] = set()

    async def step(self) -> tuple[Any, ...]:
        """Make one call and return its outcome, without ETags and other values that always differ."""
        name, key = self._random.choice(NAMES), self._random.choice(KEYS)
        blobs = [self._put, self._put, self._head, self._commit]
        slots = [self._slot, self._lease, self._renew, self._release, self._leased_slot]
        rows = [self._create, self._update, self._update, self._get, self._together, self._together]
        call: Any = self._random.choice([*blobs, *slots, *rows])
        try:
            return (call.__name__, name, key, await call(name, key))
        except TableTransactionError as error:
            return (call.__name__, name, key, error.status_code, str(error.error_code), error.index)
        except HttpResponseError as error:
            return (call.__name__, name, key, type(error).__name__, error.status_code)

    def _condition(self, name: str) -> dict[str, Any]:
        kinds: list[dict[str, Any]] = [{"match_condition": MatchConditions.IfMissing}, {"overwrite": True}]
        if name in self._etags:
            kinds.append({"etag": self._etags[name], "match_condition": MatchConditions.IfNotModified})
        return self._random.choice(kinds)

    async def _put(self, name: str, key: str) -> None:
        data = self._random.randbytes(4)
        condition = self._condition(name)
        written = await self._container.get_blob_client(name).upload_blob(data, metadata={"by": key}, **condition)
        self._overwritten.add(name)
        # Sometimes the new ETag is ignored, so that stale ones are used, too.
        if self._random.random() < 0.7:
            self._etags[name] = written["etag"]

    async def _head(self, name: str, key: str) -> tuple[Any, ...]:
        blob = self._container.get_blob_client(name)
        facts = await blob.get_blob_properties()
        return (await (await blob.download_blob()).readall(), dict(facts.metadata))

    async def _commit(self, name: str, key: str) -> None:
        blob, condition = self._container.get_blob_client(name), self._condition(name)
        condition.pop("overwrite", None)
        # Writing a whole blob discards staged blocks; in Azurite they stay.
        staged = BLOCKS if name in self._overwritten else self._random.sample(BLOCKS, self._random.randint(0, 2))
        self._overwritten.discard(name)
        for block in staged:
            await blob.stage_block(block, self._random.randbytes(3))
        await blob.commit_block_list([BlobBlock(each) for each in BLOCKS], metadata={"by": key}, **condition)

    async def _slot(self, name: str, key: str) -> None:
        await self._slots(name).upload_blob(self._random.randbytes(4), overwrite=True)

    async def _lease(self, name: str, key: str) -> None:
        self._leases[name] = await self._slots(name).acquire_lease(60)

    async def _renew(self, name: str, key: str) -> None:
        if self._held(name):
            await self._leases[name].renew()

    async def _release(self, name: str, key: str) -> None:
        if self._held(name) and self._random.random() < 0.7:
            await self._leases[name].release()
            self._released.add(self._leases[name])

    async def _leased_slot(self, name: str, key: str) -> None:
        if self._held(name):
            data = self._random.randbytes(4)
            await self._slots(name).upload_blob(data, overwrite=True, lease=self._leases[name])

    def _held(self, name: str) -> bool:
        # The SDK drops the id of a released lease.
        return name in self._leases and self._leases[name] not in self._released

    def _slots(self, name: str) -> Any:
        return self._container.get_blob_client(f"slot-{name}")

    def _row(self, key: str) -> dict[str, Any]:
        return {"PartitionKey": "p", "RowKey": key, "value": self._random.randint(0, 9)}

    async def _create(self, name: str, key: str) -> None:
        self._etags[key] = (await self._table.create_entity(self._row(key)))["etag"]

    async def _update(self, name: str, key: str) -> None:
        etag, row = self._etags.get(key), self._row(key)
        if etag:
            condition = MatchConditions.IfNotModified
            written = await self._table.update_entity(
                row, mode=UpdateMode.REPLACE, etag=etag, match_condition=condition
            )
            if self._random.random() < 0.7:
                self._etags[key] = written["etag"]

    async def _together(self, name: str, key: str) -> None:
        """Write as the ledger does: a row under a condition, and list rows with it."""
        other, third = ({**self._row(each), "RowKey": f"list-{each}"} for each in KEYS)
        etag = self._etags.get(key)
        condition = {"mode": UpdateMode.REPLACE, "etag": etag, "match_condition": MatchConditions.IfNotModified}
        first: Any = ("update", self._row(key), condition) if etag else ("create", self._row(key))
        changes = [first, ("upsert", other, {"mode": UpdateMode.REPLACE})]
        if self._random.random() < 0.5:
            changes.append(("delete", {"PartitionKey": "p", "RowKey": third["RowKey"]}))
        self._etags[key] = (await self._table.submit_transaction(changes))[0]["etag"]

    async def _get(self, name: str, key: str) -> dict[str, Any]:
        entity = await self._table.get_entity("p", key)
        return {name: entity[name] for name in ("PartitionKey", "RowKey", "value")}


@pytest.mark.parametrize("seed", range(4))
async def test_random_calls_have_equal_outcomes(real_account: Account, settings: Settings, seed: int) -> None:
    held = [Store()]

    async def send(op: Op) -> Response:
        held[0], answer = apply(held[0], op)
        return answer

    real = Player(real_account, settings, seed)
    model = Player(Clients(send, lambda: secrets.token_hex(8)), settings, seed)
    for step in range(STEPS):
        assert await real.step() == await model.step(), f"step {step}"
