"""Text and watermarks: they are completely visible, or an error says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.engine.base import TransformContext
from pipeline.engine.errors import EngineError
from pipeline.engine.transforms.text_layout import wrap_lines

from .conftest import encoded
from .measures import worst
from .test_transforms import apply

PLAIN = {"shadow": "transparent", "color": "white"}
FONTS = [
    *Path("/usr/share/fonts").rglob("DejaVuSans.ttf"),
    *Path("/usr/share/fonts").rglob("LiberationSans-Regular.ttf"),
]


def black(width: int, height: int) -> Image.Image:
    """Create a black image."""
    return Image.new("RGB", (width, height), "black")


def box(image: Image.Image) -> tuple[int, int, int, int]:
    """Return the box around all pixels that are not black."""
    return image.convert("L").getbbox() or (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("text", "letters"), [("Müller & Söhne", "'ü', 'ö'"), ("5 € – 7 €", "'€', '–'"), ("漢字", "'漢'")]
)
def test_letters_that_the_font_lacks_are_named(text: str, letters: str) -> None:
    with pytest.raises(EngineError, match=letters) as refused:
        apply("text", black(300, 200), text=text)
    assert refused.value.kind == "asset_unusable"
    assert "use a font from the assets container" in refused.value.message


@pytest.mark.skipif(not FONTS, reason="no font with these letters (Debian, Ubuntu: apt install fonts-dejavu-core)")
def test_a_font_of_ones_own_has_its_letters(tmp_path: Path) -> None:
    (tmp_path / "font").write_bytes(FONTS[0].read_bytes())
    context = TransformContext(10**6, assets={"own.ttf": tmp_path / "font"})
    composed = apply("text", black(300, 100), context, text="Müller €", font="own.ttf", **PLAIN)
    apart = apply("text", black(300, 100), context, text="Mu\u0308ller €", font="own.ttf", **PLAIN)
    assert worst(composed, apart) == 0
    with pytest.raises(EngineError, match=r"the font 'own.ttf' lacks the letters '漢'"):
        apply("text", black(300, 100), context, text="漢", font="own.ttf")


@pytest.mark.parametrize(
    ("text", "same"), [("a\r\nb", "a\nb"), ("a\rb", "a\nb"), ("a\tb", "a    b"), ("a\u00a0b\u202fc", "a b c")]
)
@pytest.mark.parametrize("wrap", [True, False])
def test_line_ends_and_spaces_are_no_letters(text: str, same: str, wrap: bool) -> None:
    one, other = (apply("text", black(200, 100), text=each, wrap=wrap) for each in (text, same))
    assert worst(one, other) == 0


def test_a_word_longer_than_a_line_is_split() -> None:
    narrow, wide = black(120, 400), black(4000, 60)
    params = {"text": "Donaudampfschifffahrtsgesellschaft", "size": 30, "margin": 10, "gravity": "top", **PLAIN}
    shown, line = apply("text", narrow, **params), apply("text", wide, **params)
    left, top, right, bottom = box(shown)
    assert (left >= 10, right <= 110, bottom - top > 150) == (True, True, True)
    # The wrapped text has as many white pixels as the single line.
    drawn, whole = (sum(each.convert("L").histogram()[128:]) for each in (shown, line))
    assert abs(drawn - whole) < whole * 0.02


@pytest.mark.parametrize("width", [1, 3, 5])
def test_lines_are_no_longer_than_the_width_and_lose_nothing(width: int) -> None:
    text = "ab abcdefg\n\nabc de\u0301fgh i"
    broken = wrap_lines(text, width, len)
    assert all(len(line) <= max(width, 2) for line in broken.split("\n"))
    assert "".join(broken.split()) == "".join(text.split())
    assert all(not line.startswith("\u0301") for line in broken.split("\n"))


@pytest.mark.parametrize("gravity", ["top-left", "left", "bottom-left"])
def test_of_text_that_is_too_high_the_first_lines_are_seen(gravity: str) -> None:
    shown = apply("text", black(200, 60), text="One\nTwo\nThree\nFour", size=30, margin=5, gravity=gravity, **PLAIN)
    first = apply("text", black(200, 60), text="One", size=30, margin=5, gravity="top-left", **PLAIN)
    assert worst(shown.crop((0, 0, 200, 26)), first.crop((0, 0, 200, 26))) == 0


@pytest.mark.parametrize("margin", [40, "100%", 1_000_000])
@pytest.mark.parametrize("name", ["text", "watermark"])
def test_a_margin_always_leaves_room(name: str, margin: Any, tmp_path: Path) -> None:
    (tmp_path / "logo").write_bytes(encoded(Image.new("RGB", (20, 20), "white")))
    context = TransformContext(10**6, assets={"logo.png": tmp_path / "logo"})
    params = {"text": "Hi", "size": 8, **PLAIN} if name == "text" else {"image": "logo.png", "opacity": 1}
    left, top, right, bottom = box(apply(name, black(60, 70), context, margin=margin, **params))
    assert 20 <= left < right <= 40
    assert 20 <= top < bottom <= 50


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_tiles_lie_side_by_side_and_many_cost_little(mode: str, tmp_path: Path) -> None:
    mark = Image.new("RGBA", (6, 4), (200, 100, 0, 255))
    mark.putpixel((0, 0), (0, 0, 0, 0))
    (tmp_path / "logo").write_bytes(encoded(mark))
    context = TransformContext(10**9, assets={"logo.png": tmp_path / "logo"})
    params = {"image": "logo.png", "width": 6, "margin": 2, "opacity": 1.0, "tile": True}
    shown = apply("watermark", black(61, 37).convert(mode), context, **params)
    expected = Image.new("RGBA", (61, 37), "black")
    for top in range(0, 37, 6):
        for left in range(0, 61, 8):
            expected.paste(mark, (left, top), mark)
    assert worst(shown.convert("RGBA"), expected) == 0


def test_the_smallest_tiles_take_little_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logo").write_bytes(encoded(Image.new("RGB", (1, 1), "white")))
    context = TransformContext(10**9, assets={"logo.png": tmp_path / "logo"})
    pasted, paste = [], Image.Image.paste
    monkeypatch.setattr(Image.Image, "paste", lambda self, *rest: (pasted.append(self), paste(self, *rest)))
    apply("watermark", black(600, 400), context, image="logo.png", width=1, margin=0, tile=True)
    assert len(pasted) <= 300 + 200 + 1
