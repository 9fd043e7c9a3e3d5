"""Settings of recipes besides transforms: isolation, assets, focal points, code, limits, metadata."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from pipeline.engine.protocol import INLINE_REPORT_CHARACTERS
from pipeline.errors import ConfigError
from pipeline.storage.ledger import Entry
from tests.images import detect_format, image_bytes, size
from tests.stack import Stack, open_stack

RECIPES = """
recipes:
  alone:
    isolation: single
    renditions: {out: {format: jpeg}}
  tenants:
    isolation: tenant
    renditions: {out: {format: jpeg}}
  ours:
    isolation: trusted
    renditions: {out: {format: jpeg}}
  shared:
    renditions: {out: {format: jpeg}}
  focal:
    transforms: [{crop: {aspect: "1:1", gravity: [focal, center]}}]
    renditions: {out: {format: png}}
  marked:
    transforms: [{watermark: {image: "logos/mark.png", width: "50%%", opacity: 1}}]
    renditions: {out: {format: png}}
  small:
    limits: {max_source_bytes: 2000}
    renditions: {out: {format: png}}
  quick:
    limits: {max_seconds: 0.5}
    renditions: {out: {format: png}}
  many:
    renditions: {out: {format: png, widths: [%s]}}
  best:
    carry: [credit]
    renditions: {out: {format: auto, dominant_color: true}}
%s
  big:
    match: {include: ["sized/**"], size: {min: 1500}}
    renditions: {out: {format: png}}
"""
FORMATS = ("jpeg", "png", "webp", "avif", "gif", "tiff")
RECIPES %= (
    ", ".join(str(10 * number) for number in range(1, 21)),
    "  every:\n    renditions:\n" + "\n".join(f"      {name}: {{format: {name}}}" for name in FORMATS),
)
CODE = """
recipes:
  turned:
    transforms:
      - code: |
          def transform(image, params):
              return image.rotate(90, expand=True)
    renditions: {out: {format: png}}
  broken:
    transforms:
      - code: |
          def transform(image, params):
              return image.nonsense()
    renditions: {out: {format: png}}
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """Write the recipes of these tests to a file."""
    path = tmp_path / "recipes.yaml"
    path.write_text(RECIPES)
    return path


async def run(stack: Stack, recipe: str, name: str = "a.png", data: bytes | None = None) -> Entry:
    """Execute a job of a recipe, after an upload if there is data."""
    services = stack.services
    if data is not None:
        await stack.upload(name, data)
    return await services.executor.execute(services.settings.input_container, name, services.recipes.get(recipe))


async def generations(stack: Stack) -> list[int]:
    """Return how often each slot got a new session."""
    container = stack.services.account.container(stack.services.settings.state_container)
    texts = [await (await container.download_blob(blob.name)).readall() async for blob in container.list_blobs()]
    return sorted(json.loads(text).get("generation", 0) for text in texts)


async def test_a_single_job_never_shares_a_session(environ: dict[str, str]) -> None:
    async with open_stack({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        for number in range(3):
            assert (await run(stack, "alone", f"{number}.png", image_bytes(60, 40))).state == "done"
        await stack.services.scheduler.close()
        assert (await generations(stack))[0] >= 3


async def test_only_jobs_of_one_tenant_share_a_session(environ: dict[str, str]) -> None:
    async with open_stack({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        for name in ("a/1.png", "a/2.png", "b/1.png", "a/3.png"):
            assert (await run(stack, "tenants", name, image_bytes(60, 40))).state == "done"
        assert await generations(stack) == [3]


async def test_trusted_sessions_live_longer_and_serve_no_other_recipe(environ: dict[str, str]) -> None:
    async with open_stack(
        {
            **environ,
            "PIPELINE_POOL_MAX_SESSIONS": "1",
            "PIPELINE_SESSION_MAX_JOBS": "2",
            "PIPELINE_SESSION_IDLE_TIMEOUT": "600",
        }
    ) as stack:
        for number in range(4):
            assert (await run(stack, "ours", f"{number}.png", image_bytes(60, 40))).state == "done"
        assert await generations(stack) == [1]
        assert (await run(stack, "shared", "0.png")).state == "done"
        assert await generations(stack) == [2]


async def test_an_image_of_a_request_is_never_trusted(environ: dict[str, str]) -> None:
    async with open_stack({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        services = stack.services
        await services.sources.put(services.settings.upload_container, "a.png", image_bytes(60, 40), "image/png")
        recipe = services.recipes.get("ours")
        assert (await services.executor.execute(services.settings.upload_container, "a.png", recipe)).state == "done"
        assert (await run(stack, "shared", "0.png", image_bytes(60, 40))).state == "done"
        assert await generations(stack) == [1], "it shares the session of untrusted images"
        assert (await run(stack, "ours", "0.png")).state == "done"
        assert await generations(stack) == [2]


@pytest.mark.both
@pytest.mark.parametrize(("where", "focal"), [("metadata", "1,0.5"), ("tags", "1 0.5")])
async def test_a_focal_point_comes_from_the_blobs_metadata_or_tags(stack: Stack, where: str, focal: str) -> None:
    """The value of a tag may not contain a comma."""
    half = Image.new("RGB", (200, 100), "red")
    half.paste("blue", (100, 0, 200, 100))
    packed = io.BytesIO()
    half.save(packed, "PNG")
    container = stack.services.account.container(stack.services.settings.input_container)
    await container.upload_blob("a.png", packed.getvalue(), **{where: {"focal": focal}})
    await run(stack, "focal")
    with Image.open(io.BytesIO(next(iter((await stack.outputs()).values())))) as made:
        assert made.size == (100, 100)
        assert made.convert("RGB").getpixel((50, 50)) == (0, 0, 255)


@pytest.mark.both
async def test_a_watermark_comes_from_the_asset_container(stack: Stack) -> None:
    missing = await run(stack, "marked", data=image_bytes(200, 200, "PNG"))
    assert (missing.state, missing.error_kind) == ("failed", "asset_missing")
    assert "logos/mark.png" in missing.error_message
    green = io.BytesIO()
    Image.new("RGB", (50, 50), "lime").save(green, "PNG")
    container = stack.services.account.container(stack.services.settings.asset_container)
    await container.upload_blob("logos/mark.png", green.getvalue())
    for seed in (20, 40):
        assert (await run(stack, "marked", data=image_bytes(200, 200, "PNG", seed=seed))).state == "done"
    with Image.open(io.BytesIO(next(iter((await stack.outputs()).values())))) as made:
        colors = made.convert("RGB").crop((150, 150, 190, 190)).getcolors(1600)
    assert colors is not None
    assert max(colors)[1] == (0, 255, 0)


async def test_a_limit_of_a_recipe_is_tighter_than_the_settings(stack: Stack) -> None:
    entry = await run(stack, "small", data=image_bytes(400, 400))
    assert (entry.error_kind, "2,000" in entry.error_message) == ("too_many_bytes", True)


async def test_a_time_limit_below_a_second_is_rounded_up(environ: dict[str, str]) -> None:
    """Another job installs the engine first: on a busy machine that alone may take a second."""
    async with open_stack({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        await run(stack, "shared", data=image_bytes(30, 20))
        assert (await run(stack, "quick")).state == "done"


@pytest.mark.both
async def test_a_report_longer_than_a_line_is_a_file(stack: Stack) -> None:
    """The service truncates long output without notice."""
    entry = await run(stack, "many", data=image_bytes(400, 300))
    assert (entry.state, len(entry.renditions), len(await stack.outputs())) == ("done", 20, 20)
    assert len(json.dumps(entry.renditions)) > INLINE_REPORT_CHARACTERS


@pytest.mark.both
async def test_a_rendition_has_its_content_type_and_carried_metadata(stack: Stack) -> None:
    container = stack.services.account.container(stack.services.settings.input_container)
    about = {"credit": "A. Person", "secret": "no"}
    await container.upload_blob("a.jpg", image_bytes(), metadata=about)
    await run(stack, "best", "a.jpg")
    ((path, data),) = (await stack.outputs()).items()
    output = stack.services.account.container(stack.services.settings.output_container)
    facts = await output.get_blob_client(path).get_blob_properties()
    made = detect_format(data).lower()
    assert facts.content_settings.content_type == f"image/{made}"
    assert path.endswith({"jpeg": ".jpg"}.get(made, f".{made}"))
    assert facts.metadata["credit"] == "A. Person"
    assert facts.metadata["dominant_color"].startswith("#")
    assert "secret" not in facts.metadata


@pytest.mark.both
async def test_every_format_of_a_recipe_can_be_written(stack: Stack) -> None:
    entry = await run(stack, "every", data=image_bytes(40, 30))
    assert (entry.state, entry.error_message) == ("done", "")
    assert sorted(detect_format(data) for data in (await stack.outputs()).values()) == sorted(map(str.upper, FORMATS))


async def test_a_size_rule_reads_the_blob(stack: Stack) -> None:
    container = stack.services.settings.input_container
    for name, data in (("sized/big.png", image_bytes(300, 300)), ("sized/small.png", image_bytes(8, 8, "PNG"))):
        await stack.upload(name, data)
        await stack.services.dispatcher.handle_blob(container, name)
    assert [path.split("/")[2] for path in await stack.outputs()] == ["big.png"]


async def test_code_is_refused_unless_it_is_allowed(environ: dict[str, str], recipe_file: Path) -> None:
    recipe_file.write_text(CODE)
    with pytest.raises(ConfigError, match="allow it with PIPELINE_ALLOW_CODE"):
        async with open_stack(environ):
            pass


async def test_code_runs_alone_and_its_traceback_is_recorded(environ: dict[str, str], recipe_file: Path) -> None:
    recipe_file.write_text(CODE)
    async with open_stack({**environ, "PIPELINE_ALLOW_CODE": "true", "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        assert (await run(stack, "turned", data=image_bytes(60, 40, "PNG"))).state == "done"
        assert size(next(iter((await stack.outputs()).values()))) == (40, 60)
        entry = await run(stack, "broken")
        assert (entry.state, entry.error_kind) == ("failed", "code_failed")
        assert "line 2" in entry.error_message
        assert "nonsense" in entry.error_message
        await stack.services.scheduler.close()
        assert (await generations(stack))[0] >= 2
