"""The contact sheet."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from pipeline.cli import sheet


@pytest.mark.parametrize(("mode", "form", "order"), [("I;16", "png", "little"), ("I;16B", "tiff", "big")])
def test_16_bit_grayscale_keeps_its_tones(tmp_path: Path, mode: str, form: str, order: str) -> None:
    photo, target = tmp_path / f"deep.{form}", tmp_path / "sheet.png"
    halves = b"".join(level.to_bytes(2, order) for level in (16384, 49152) for _ in range(100))  # type: ignore[arg-type]
    Image.frombytes(mode, (200, 100), halves * 100).save(photo)
    sheet.draw([[sheet.Cell(photo, "deep", "")]], target)
    with Image.open(target) as drawn:
        left, top = sheet.GAP + sheet.CELL[0] // 2, sheet.GAP + sheet.CELL[1] // 2
        shown = [drawn.convert("L").getpixel((left + x, top)) for x in (-50, 50)]
    assert shown == [64, 191]


def test_captions_are_one_line_of_ascii(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    draw = ImageDraw.ImageDraw.text

    def text(self: ImageDraw.ImageDraw, at: tuple[float, float], words: str, *rest: object) -> None:
        written.append(words)
        draw(self, at, words, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    sheet.draw([[sheet.Cell(tmp_path / "a.png", "\u00fc 1\n\u65e5.jpg", "9 bytes")]], tmp_path / "sheet.png")
    assert written == [r"\xfc 1\n\u65e5.jpg", "9 bytes"]
