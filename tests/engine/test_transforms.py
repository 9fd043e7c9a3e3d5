"""Transforms: each does what its description says in every mode, and rejects excessive requests with an error."""

from __future__ import annotations

import cmath
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageStat
from pydantic import TypeAdapter, ValidationError

from pipeline.engine.base import PixelTransform, TransformContext
from pipeline.engine.image_view import ImageView
from pipeline.engine.transforms.registry import TRANSFORMS

from .conftest import encoded, gradient, noise
from .measures import worst

ALL = [pytest.param(kind, id=name) for name, kind in TRANSFORMS.items()]


def test_the_registry_names_each_transform_as_its_class_does() -> None:
    assert list(TRANSFORMS) == [kind.name for kind in TRANSFORMS.values()]


@pytest.fixture
def context(tmp_path: Any) -> TransformContext:
    """Create a context with a logo: a half transparent red square."""
    (tmp_path / "logo").write_bytes(encoded(Image.new("RGBA", (20, 20), (255, 0, 0, 128))))
    return TransformContext(max_pixels=1_000_000, assets={"logo.png": tmp_path / "logo"})


def picture(mode: str) -> Image.Image:
    """Draw an image in a mode."""
    image = gradient(120, 80).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def apply(name: str, image: Image.Image, context: TransformContext | None = None, /, **params: Any) -> Image.Image:
    """Apply one transform with parameters that the host accepts."""
    step = TypeAdapter(TRANSFORMS[name]).validate_json(json.dumps(params))
    return step.apply(
        ImageView.from_image(image.copy()), context or TransformContext(max_pixels=1_000_000)
    ).read_pixels()


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_the_example_works_on_every_mode_without_side_effects(kind: Any, mode: str, context: TransformContext) -> None:
    step = TypeAdapter(kind).validate_json(json.dumps(kind.example))
    image = picture(mode)
    before = image.copy()
    shown = step.apply(ImageView.from_image(image), context).read_pixels()
    assert shown.mode in {"L", "RGB", "RGBA"}
    assert worst(image, before) == 0
    again = step.apply(ImageView.from_image(before), context).read_pixels()
    assert worst(shown, again) == 0


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3)])
def test_the_example_works_on_the_smallest_images(kind: Any, size: tuple[int, int], context: TransformContext) -> None:
    step = TypeAdapter(kind).validate_json(json.dumps(kind.example))
    for mode in ("L", "RGB", "RGBA"):
        shown = step.apply(ImageView.from_image(Image.new(mode, size)), context).read_pixels()
        assert min(shown.size) >= 1


@pytest.mark.parametrize("kind", ALL)
def test_it_is_described_in_one_line_and_every_parameter_too(kind: Any) -> None:
    schema = TypeAdapter(kind).json_schema()
    assert kind.__doc__
    assert kind.__doc__.strip().count("\n") == 0
    assert all(field.get("description") for field in schema.get("properties", {}).values())


@pytest.mark.parametrize("kind", ALL)
def test_numbers_out_of_bounds_and_unknown_keys_are_refused(kind: Any) -> None:
    adapter = TypeAdapter(kind)
    with pytest.raises(ValidationError):
        adapter.validate_json(json.dumps({**kind.example, "no_such_key": 1}))
    for name, field in adapter.json_schema().get("properties", {}).items():
        for option in (field, *field.get("anyOf", ())):
            for value in [option[end] + add for end, add in (("maximum", 1), ("minimum", -1)) if end in option]:
                with pytest.raises(ValidationError, match=r"should be (greater|less) than or equal"):
                    adapter.validate_json(json.dumps({**kind.example, name: value}))


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("rotate", {"degrees": 360}),
        ("brightness", {"factor": 1.0}),
        ("contrast", {"factor": 1.0}),
        ("saturation", {"factor": 1.0}),
        ("gamma", {"value": 1.0}),
        ("sharpen", {"amount": 0}),
        ("tint", {"color": "red", "amount": 0}),
        ("trim", {"tolerance": 0}),
        ("rounded_corners", {"radius": 0, "background": "white"}),
        ("pad", {"aspect": "3:2"}),
        ("border", {"width": 0}),
        ("resize", {"scale": 1.0}),
        ("crop", {"box": ["0%", "0%", "100%", "100%"]}),
    ],
)
def test_the_neutral_value_changes_nothing(name: str, params: dict[str, Any]) -> None:
    assert worst(apply(name, gradient(120, 80), **params), gradient(120, 80)) == 0


def test_rotate_turns_clockwise_and_shows_the_background() -> None:
    image = gradient(60, 40)
    assert worst(apply("rotate", image, degrees=90), image.transpose(Image.Transpose.ROTATE_270)) == 0
    turned = apply("rotate", image, degrees=45, background="#0000ff")
    assert turned.mode == "RGB"
    assert turned.getpixel((0, 0)) == (0, 0, 255)
    assert apply("rotate", image, degrees=45, expand=False).size == image.size


def test_trim_finds_the_image_in_its_margins() -> None:
    image = Image.new("RGB", (100, 60), (250, 250, 250))
    image.paste(Image.new("RGB", (20, 10), "red"), (30, 25))
    assert apply("trim", image).size == (20, 10)
    clear = Image.new("RGBA", (100, 60))
    clear.paste(Image.new("RGBA", (20, 10), "red"), (30, 25))
    assert apply("trim", clear).size == (20, 10)
    assert apply("trim", Image.new("RGB", (9, 9), "red")).size == (9, 9)


def test_flip_mirrors_left_and_right() -> None:
    image = gradient(60, 40)
    assert worst(apply("flip", image), image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) == 0
    assert worst(apply("flip", image, axis="vertical"), image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)) == 0


def test_autocontrast_reaches_black_and_white_and_keeps_the_tint() -> None:
    dull = gradient(120, 80).point(lambda value: 80 + value // 4)
    extrema = apply("autocontrast", dull, cutoff=0).convert("L").getextrema()
    assert extrema[0] < 10
    assert extrema[1] > 240


def test_blur_does_not_pull_dark_color_into_transparent_edges() -> None:
    image = Image.new("RGBA", (60, 60), (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle((20, 20, 39, 39), fill=(255, 255, 255, 255))
    body = apply("blur", image, radius=4).tobytes()
    seen = [body[at : at + 4] for at in range(0, len(body), 4)]
    assert all(min(pixel[:3]) >= 240 for pixel in seen if pixel[3] > 16)


def test_pixelate_touches_its_region_only() -> None:
    image = gradient(120, 80)
    shown = apply("pixelate", image, block=10, region=[20, 20, 60, 60])
    assert worst(shown.crop((60, 0, 120, 80)), image.crop((60, 0, 120, 80))) == 0
    assert shown.getpixel((20, 20)) == shown.getpixel((29, 29))


def test_rounded_corners_are_clear_and_their_edges_smooth() -> None:
    shown = apply("rounded_corners", gradient(120, 80), radius=30)
    alpha = shown.getchannel("A")
    assert [alpha.getpixel(at) for at in ((0, 0), (119, 0), (0, 79), (119, 79))] == [0, 0, 0, 0]
    assert [alpha.getpixel(at) for at in ((60, 0), (0, 40), (60, 40))] == [255, 255, 255]
    assert len(set(alpha.tobytes())) > 10


def test_a_circle_is_square_and_round() -> None:
    shown = apply("circle", gradient(120, 80))
    assert shown.size == (80, 80)
    covered = ImageStat.Stat(shown.getchannel("A")).mean[0] / 255
    assert abs(covered - 3.14159 / 4) < 0.005


def test_quantize_leaves_that_many_colors() -> None:
    colors = apply("quantize", gradient(120, 80), colors=5).getcolors(1000)
    assert colors is not None
    assert len(colors) <= 5


def test_a_watermark_has_its_position_and_opacity(context: TransformContext) -> None:
    white = Image.new("RGB", (200, 100), "white")
    shown = apply("watermark", white, context, image="logo.png", width=20, margin=10, opacity=1.0)
    box = Image.new("L", shown.size)
    box.paste(255, (170, 70, 190, 90))
    assert shown.getpixel((180, 80)) == (255, 127, 127)
    assert shown.getpixel((165, 80)) == shown.getpixel((195, 80)) == (255, 255, 255)
    tiled = apply("watermark", white, context, image="logo.png", width=20, margin=10, opacity=1.0, tile=True)
    assert tiled.getpixel((5, 5)) == tiled.getpixel((35, 35)) == (255, 127, 127)


def test_an_asset_that_is_missing_or_unreadable_is_named(context: TransformContext, tmp_path: Path) -> None:
    from pipeline.engine.errors import EngineError

    with pytest.raises(EngineError, match=r"'nope.png', which does not exist"):
        apply("watermark", gradient(9, 9), context, image="nope.png")
    (tmp_path / "logo").write_bytes(b"no picture")
    with pytest.raises(EngineError, match=r"'logo.png' cannot be read as an image"):
        apply("watermark", gradient(9, 9), context, image="logo.png")


def test_text_is_wrapped_to_the_width_and_stays_inside() -> None:
    black = Image.new("RGB", (200, 200), "black")
    shown = apply("text", black, text="one two three four five six", size=30, gravity="center", shadow="transparent")
    left, top, right, bottom = shown.convert("L").getbbox() or (0, 0, 0, 0)
    assert left >= 4
    assert right <= 196
    assert bottom - top > 60


@pytest.mark.parametrize("spot", [0.1, 0.5, 0.9])
def test_a_smart_crop_keeps_the_most_detail(spot: float) -> None:
    image = Image.new("RGB", (900, 300), (90, 120, 150))
    middle = round(150 + spot * 600)
    grain = noise((100, 100), 90)
    image.paste(Image.merge("RGB", (grain, grain, grain)), (middle - 50, 100))
    kept = apply("crop", image, aspect="1:1", gravity="smart")
    left, _, right, _ = kept.convert("L").point(lambda v: 255 if abs(v - 115) > 20 else 0).getbbox() or (0, 0, 0, 0)
    assert right - left >= 95


def test_a_gravity_list_falls_back_to_the_next() -> None:
    image = gradient(300, 100)
    chain = {"aspect": "1:1", "gravity": ["focal", "smart", "right"]}
    even = Image.new("RGB", (300, 100), "red")
    focal = TransformContext(max_pixels=10**6, focal=(0.0, 0.5))
    assert worst(apply("crop", image, focal, **chain), image.crop((0, 0, 100, 100))) == 0
    step = TRANSFORMS["crop"](**chain)
    assert step.apply(ImageView.from_image(even), TransformContext(max_pixels=10**6)).box == (200, 0, 300, 100)


def test_the_focal_point_is_followed_through_crops() -> None:
    image = gradient(400, 100)
    context = TransformContext(max_pixels=10**6, focal=(0.75, 0.5))
    first = TRANSFORMS["crop"](box=[200, 0, 400, 100]).apply(ImageView.from_image(image), context)
    second = TRANSFORMS["crop"](aspect="1:1", gravity="focal").apply(first, context)
    assert second.box == (250, 0, 350, 100)


def test_pixel_transforms_work_on_a_copy() -> None:
    """Two renditions share the result of the shared transforms, so each pixel transform gets a copy."""
    shared = ImageView.from_image(gradient(60, 40))
    for name in ("pixelate", "blur"):
        step = TRANSFORMS[name]()
        assert isinstance(step, PixelTransform)
        step.apply(shared, TransformContext(max_pixels=10**6))
    assert worst(shared.read_pixels(), gradient(60, 40)) == 0


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("border", {"width": 30}),
        ("pad", {"aspect": "1:4", "gravity": "top"}),
        ("pad", {"aspect": "4:1", "gravity": "right"}),
        ("circle", {}),
        ("trim", {}),
        ("resize", {"width": 50, "height": 50, "mode": "contain"}),
        ("resize", {"width": 90, "height": 30, "mode": "contain", "gravity": "left", "enlarge": True}),
        ("resize", {"width": 300, "height": 50, "mode": "pad", "gravity": "bottom"}),
    ],
)
def test_the_focal_point_stays_on_its_object(name: str, params: dict[str, Any]) -> None:
    """A red spot at the focal point of a white image stays at the focal point."""
    image = Image.new("RGB", (100, 60), "black")
    ImageDraw.Draw(image).rectangle((5, 5, 94, 54), fill="white")
    ImageDraw.Draw(image).rectangle((58, 18, 68, 28), fill="red")
    context = TransformContext(max_pixels=10**6, focal=(0.63, 23 / 60))
    shown = apply(name, image, context, **params)
    assert context.focal is not None
    seen = shown.convert("RGB").getpixel((int(context.focal[0] * shown.width), int(context.focal[1] * shown.height)))
    assert isinstance(seen, tuple)
    assert seen[0] > 200
    assert max(seen[1:]) < 60


@pytest.mark.parametrize("degrees", [1, -1, 45, 120, 271.5])
def test_rotation_is_limited_by_its_result(degrees: float) -> None:
    """A limit that just fits is accepted. With one pixel less, the error states the size."""
    from pipeline.engine.errors import EngineError

    image = gradient(60, 82)
    size = apply("rotate", image, degrees=degrees).size
    width, height = (round(side) for side in _canvas(image.size, degrees))
    assert abs(size[0] - width) <= 2
    assert abs(size[1] - height) <= 2
    assert apply("rotate", image, TransformContext(max_pixels=(width + 2) * (height + 2)), degrees=degrees).size == size
    with pytest.raises(EngineError) as refused:
        apply("rotate", image, TransformContext(max_pixels=(width - 2) * (height - 2)), degrees=degrees)
    told = re.search(r"make (\d+)×(\d+) pixels", refused.value.message)
    assert told is not None
    assert all(abs(int(one) - other) <= 2 for one, other in zip(told.groups(), size, strict=True))


def _canvas(size: tuple[int, int], degrees: float) -> tuple[float, float]:
    """Compute the exact canvas size of a rotated image."""
    corners = [complex(x, y) * cmath.exp(1j * math.radians(degrees)) for x in (0, size[0]) for y in (0, size[1])]
    across, down = [each.real for each in corners], [each.imag for each in corners]
    return max(across) - min(across), max(down) - min(down)
