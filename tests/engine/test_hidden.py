"""Transparent pixels: no transform and no encoder takes colors from them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from pipeline.engine.base import TransformContext
from pipeline.engine.transparency import fill_transparent

from .conftest import Made, encoded, gradient, job, noise, rendition
from .measures import mean, worst
from .test_transforms import apply

SEEN = (30, 20, 90, 60)


def cut_out(inner: Image.Image, hidden: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
    """Place `inner` in the center of transparent pixels."""
    image = Image.new("RGBA", (120, 80), (*hidden, 0))
    image.paste(inner.convert("RGBA").resize((60, 40)), SEEN[:2])
    return image


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("autocontrast", {}),
        ("autocontrast", {"cutoff": 5}),
        ("equalize", {}),
        ("contrast", {"factor": 1.7}),
        ("quantize", {"colors": 6, "dither": False}),
    ],
)
@pytest.mark.parametrize("hidden", [(0, 0, 0), (255, 255, 255)])
def test_a_cut_out_is_transformed_like_the_image_alone(
    name: str, params: dict[str, object], hidden: tuple[int, int, int]
) -> None:
    inner = Image.blend(gradient(60, 40), Image.new("RGB", (60, 40), "gray"), 0.5)
    alone = apply(name, inner, **params)
    shown = apply(name, cut_out(inner, hidden), **params)
    assert worst(shown.getchannel("A"), cut_out(inner).getchannel("A")) == 0
    if name != "quantize":
        assert worst(shown.crop(SEEN).convert("RGB"), alone) == 0
        return
    assert len(shown.crop(SEEN).getcolors() or []) <= 6
    assert mean(shown.crop(SEEN).convert("RGB"), inner) < mean(alone, inner) * 1.2


@pytest.mark.parametrize("name", ["autocontrast", "equalize", "contrast", "quantize", "sharpen", "unsharp"])
def test_a_fully_transparent_image_stays_transparent(name: str) -> None:
    params = {"factor": 2.0} if name == "contrast" else {}
    assert apply(name, Image.new("RGBA", (9, 7), (10, 20, 30, 0)), **params).getchannel("A").getextrema() == (0, 0)


@pytest.mark.parametrize(("name", "params"), [("sharpen", {"amount": 3.0}), ("unsharp", {"radius": 4, "percent": 300})])
@pytest.mark.parametrize("hidden", [(0, 0, 0), (255, 255, 255)])
def test_sharpening_makes_no_rim_around_a_cut_out(
    name: str, params: dict[str, float], hidden: tuple[int, int, int]
) -> None:
    even = cut_out(Image.new("RGB", (60, 40), (200, 120, 60)), hidden)
    assert worst(apply(name, even, **params), even) <= 2
    # The same with a circle and a soft edge.
    disc = Image.new("L", (120, 80))
    ImageDraw.Draw(disc).ellipse((20, 10, 80, 70), fill=255)
    soft = Image.new("RGB", (120, 80), hidden)
    soft.paste((200, 120, 60), (0, 0, 120, 80), disc)
    soft.putalpha(disc)
    assert worst(apply(name, soft, **params), soft) <= 2


def test_sharpening_still_sharpens_inside() -> None:
    grain = noise((60, 40), 30).convert("RGB")
    shown, alone = apply("sharpen", cut_out(grain), amount=2.0), apply("sharpen", grain, amount=2.0)
    inside = (10, 10, 50, 30)
    assert worst(shown.crop(SEEN).convert("RGB").crop(inside), alone.crop(inside)) == 0


@pytest.mark.parametrize("blend", ["multiply", "screen"])
def test_a_layer_over_nothing_is_itself(blend: str, tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(encoded(Image.new("RGB", (4, 4), (200, 100, 50))))
    context = TransformContext(10**6, assets={"layer.png": tmp_path / "layer"})
    base = Image.new("RGBA", (3, 1))
    base.putdata([(100, 100, 100, 0), (100, 100, 100, 128), (100, 100, 100, 255)])
    shown = apply("overlay", base, context, image="layer.png", blend=blend)
    mixed = tuple(
        round(value * 100 / 255) if blend == "multiply" else 255 - round((255 - value) * 155 / 255)
        for value in (200, 100, 50)
    )
    half = tuple((one + other) / 2 for one, other in zip(mixed, (200, 100, 50), strict=True))
    for place, expected in enumerate([(200, 100, 50), half, mixed]):
        seen = shown.getpixel((place, 0))
        assert isinstance(seen, tuple)
        assert seen[3] == 255
        assert all(abs(one - other) <= 2 for one, other in zip(seen, expected, strict=False)), place


@pytest.mark.parametrize("hidden", [(0, 0, 0), (0, 255, 0)])
def test_the_palette_of_a_gif_has_the_colors_that_are_seen(made: Made, hidden: tuple[int, int, int]) -> None:
    inner = Image.new("RGB", (60, 40), (250, 200, 200))
    inner.paste((120, 40, 40), (0, 0, 20, 40))
    inner.paste((220, 120, 90), (20, 0, 40, 40))
    shown = made(cut_out(inner, hidden), job(rendition("out", "gif", colors=4))).convert("RGBA")
    assert worst(shown.crop(SEEN).convert("RGB"), inner) <= 2
    assert shown.getpixel((5, 5))[3] == 0  # type: ignore[index]


def test_transparent_pixels_get_visible_colors() -> None:
    image = Image.new("RGBA", (400, 300), (9, 9, 9, 0))
    image.paste((200, 30, 30, 255), (100, 100, 130, 140))
    image.paste((30, 30, 200, 255), (130, 100, 140, 140))
    colors = fill_transparent(image, image.getchannel("A").point([255] + [0] * 255)).getcolors()
    assert colors is not None
    (fewer, blue), (more, red) = sorted(colors)
    assert (blue, red) == ((30, 30, 200), (200, 30, 30))
    assert 2.5 < more / fewer < 3.5


def test_colors_are_found_between_the_samples() -> None:
    image = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    for place in ((1, 2), (398, 397)):
        image.putpixel(place, (9, 200, 30, 255))
    clear = image.getchannel("A").point([255] + [0] * 255)
    assert fill_transparent(image, clear).getcolors() == [(160_000, (9, 200, 30))]


@pytest.mark.parametrize("colors", [4, 16])
def test_a_cut_out_gets_a_gif_as_good_as_the_image_alone(made: Made, colors: int) -> None:
    inner = gradient(60, 40)
    alone = made(inner, job(rendition("out", "gif", colors=colors - 1))).convert("RGB")
    shown = made(cut_out(inner), job(rendition("out", "gif", colors=colors))).convert("RGB").crop(SEEN)
    assert mean(shown, inner) < mean(alone, inner) * 1.15
