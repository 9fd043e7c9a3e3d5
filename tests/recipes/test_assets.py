"""The cache of assets is bounded."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from pipeline.settings import StorageAccount
from pipeline.storage import assets
from pipeline.storage.account import Account
from pipeline.storage.assets import Assets

NAMES = [f"logo-{number}.png" for number in range(6)]


@pytest.fixture
async def stored(azurite: str) -> AsyncIterator[Assets]:
    """A container with six assets of 1,000 bytes."""
    account = Account.open(StorageAccount(connection_string=azurite), None)
    container = f"assets-{secrets.token_hex(4)}"
    await account.container(container).create_container()
    for name in NAMES:
        await account.container(container).upload_blob(name, name.encode() * 100)
    yield Assets(account, container)
    await account.close()


@pytest.mark.parametrize("limit", [("MAX_CACHED_ASSETS", 3), ("MAX_CACHED_BYTES", 3300)])
async def test_least_recently_used_assets_are_evicted(
    stored: Assets, limit: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, *limit)
    for name in (*NAMES[:3], NAMES[0], NAMES[5]):
        assert (await stored.get(name)).data == name.encode() * 100
    first = await stored.get(NAMES[0])
    assert await stored.get(NAMES[0]) is first
    assert list(stored._cache) == [NAMES[2], NAMES[5], NAMES[0]]
