"""Assets are cached, and checked for changes now and then: on Azurite and in memory."""

from __future__ import annotations

import pytest

from pipeline.errors import RecipeError
from pipeline.settings import Settings
from pipeline.storage import assets
from pipeline.storage.account import Account
from pipeline.storage.assets import Assets


async def test_an_unchanged_asset_is_not_read_again(
    account: Account, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = account.container(settings.asset_container)
    await container.upload_blob("logo.png", b"1", overwrite=True)
    cache = Assets(account, settings.asset_container)
    first = await cache.get("logo.png")
    assert await cache.get("logo.png") is first
    monkeypatch.setattr(assets, "CACHE_SECONDS", -1.0)
    again = await cache.get("logo.png")
    assert (again.file, again.data, again.etag) == (first.file, b"1", first.etag)
    assert again.checked > first.checked
    await container.upload_blob("logo.png", b"22", overwrite=True)
    changed = await cache.get("logo.png")
    assert changed.data == b"22"
    assert changed.file != first.file


async def test_a_missing_asset_is_an_error_of_the_recipe(account: Account, settings: Settings) -> None:
    with pytest.raises(RecipeError) as caught:
        await Assets(account, settings.asset_container).get("nothing.png")
    assert caught.value.kind == "asset_missing"
