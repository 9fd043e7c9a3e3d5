"""Information that renditions do not carry over: shown by ledger, API, console and command line."""

from __future__ import annotations

from pipeline.cli.jobs import _cells as cells
from pipeline.cli.jobs import as_dict
from pipeline.storage.keys import JobKey
from tests.api.client import call
from tests.console.client import console_in_memory, text_of
from tests.engine.carriers import LABEL, png_chunk, with_chunks, with_xmp, xmp

RECIPES = """
recipes:
  web:
    match: {include: ["photos/**"]}
    renditions:
      small: {format: webp}
      old: {format: gif}
"""
SIGNED = with_chunks(with_xmp(xmp(LABEL), "PNG"), png_chunk(b"caBX", b"jumb"))


async def test_every_interface_lists_what_a_rendition_lacks() -> None:
    async with console_in_memory(RECIPES) as (client, memory):
        for name, body in (("photos/signed.png", SIGNED), ("photos/plain.png", with_xmp(xmp(), "PNG"))):
            await memory.upload(name, body)
            await memory.services.dispatcher.handle_blob("input", name)
        entry = await memory.entry("web", "photos/signed.png")
        assert entry is not None
        assert {each["name"]: each.get("dropped") for each in entry.renditions} == {
            "small": ["c2pa"],
            "old": ["ai_label", "c2pa"],
        }
        assert as_dict(entry)["renditions"] == entry.renditions
        assert "2 renditions; not carried over: ai_label, c2pa" in cells(entry)
        plain = await memory.entry("web", "photos/plain.png")
        assert plain is not None
        assert not any("dropped" in each for each in plain.renditions)
        assert "2 renditions" in cells(plain)

        shown = (await call(memory, "GET", f"/api/jobs/{entry.key.id}")).json()
        assert [each["dropped"] for each in shown["renditions"]] == [["c2pa"], ["ai_label", "c2pa"]]
        shown = (await call(memory, "GET", f"/api/jobs/{plain.key.id}")).json()
        assert [each["dropped"] for each in shown["renditions"]] == [[], []]

        page = text_of(await client.get(f"/jobs/{JobKey.of('web', 'input', 'photos/signed.png').id}"))
        assert page.count("Not carried over") == 2
        assert "content credentials: a C2PA manifest" in page
        page = text_of(await client.get(f"/jobs/{JobKey.of('web', 'input', 'photos/plain.png').id}"))
        assert "photos/plain.png/small.webp" in page
        assert "Not carried over" not in page


async def test_the_playground_lists_what_a_rendition_lacks() -> None:
    async with console_in_memory(RECIPES) as (client, memory):
        await memory.upload("photos/signed.png", SIGNED)
        form = {"csrf_token": await client.csrf_token("/playground"), "mode": "recipe", "recipe": "web"}
        page = text_of(await client.post("/playground", {**form, "source": "input/photos/signed.png"}))
        assert page.count("Not carried over") == 2
        assert ">ai label<" in page


async def test_a_preview_lists_what_a_rendition_lacks() -> None:
    async with console_in_memory(RECIPES) as (_, memory):
        preview = await call(memory, "POST", "/api/preview?recipe=web", SIGNED, content_type="image/png")
        assert [each["dropped"] for each in preview.json()["renditions"]] == [["c2pa"], ["ai_label", "c2pa"]]
