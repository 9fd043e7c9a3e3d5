"""Smart crops and faces: heads stay whole, faces win where a detector exists, odd images do no harm."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from benchmarks.quality.scenes import DARK, LIGHT, make_scene
from benchmarks.quality.smart_crop import crop_box, draw_sheet
from pipeline.engine.base import TransformContext
from pipeline.engine.execution.jobs import versions
from pipeline.engine.image_view import ImageView
from pipeline.engine.revisions import gravity_revisions
from pipeline.engine.transforms import faces, smart
from pipeline.engine.transforms.composition import Span, best_start
from pipeline.engine.transforms.heads import Head
from pipeline.engine.transforms.registry import TRANSFORMS

from .conftest import gradient, noise


@pytest.fixture
def no_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Act as a session without OpenCV."""
    monkeypatch.setattr(smart, "find_faces", lambda _: None)


@pytest.fixture
def fresh_detector() -> Iterator[None]:
    """Look for the detector anew, before and after the test."""
    cached = (faces._detector, faces._read_model, faces._opencv_version)
    for each in cached:
        each.cache_clear()
    yield
    for each in cached:
        each.cache_clear()


def portrait(at: float, tone: tuple[int, int, int], background: str = "steelblue") -> Image.Image:
    """Draw a person in a wide image, whose head is centered at the fraction `at` of the width."""
    image = Image.new("RGB", (900, 300), background)
    draw = ImageDraw.Draw(image)
    x = round(900 * at)
    draw.rounded_rectangle((x - 55, 155, x + 55, 400), 30, fill=(60, 60, 70))
    draw.ellipse((x - 36, 50, x + 36, 150), fill=(40, 28, 22))
    draw.ellipse((x - 30, 68, x + 30, 152), fill=tone)
    return image


@pytest.mark.usefixtures("no_detector")
@pytest.mark.parametrize("tone", [LIGHT[0], LIGHT[4], DARK[0], DARK[4]])
@pytest.mark.parametrize("at", [0.12, 0.5, 0.85])
def test_a_head_stays_whole_without_a_detector(at: float, tone: tuple[int, int, int]) -> None:
    left, _, right, _ = crop_box(portrait(at, tone), "1:1")
    assert left <= 900 * at - 36
    assert right >= 900 * at + 36


@pytest.mark.usefixtures("no_detector")
def test_a_busy_texture_does_not_win_over_a_person() -> None:
    image = portrait(0.2, LIGHT[2])
    image.paste(Image.merge("RGB", [noise((300, 300), 90)] * 3), (600, 0))
    left, _, right, _ = crop_box(image, "1:1")
    assert left <= 900 * 0.2 - 36
    assert right >= 900 * 0.2 + 36


def test_faces_win_over_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    image = gradient(900, 300)
    image.paste(Image.merge("RGB", [noise((200, 200), 120)] * 3), (650, 50))
    monkeypatch.setattr(smart, "find_faces", lambda _: [Head(0.05, 0.2, 0.15, 0.5, 0.9)])
    assert crop_box(image, "1:1")[0] <= 45
    monkeypatch.setattr(smart, "find_faces", lambda _: [])
    assert crop_box(image, "1:1")[0] >= 500


def test_face_gravity_has_the_faces_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smart, "find_faces", lambda _: [Head(0.4, 0.2, 0.5, 0.6, 0.9), Head(0.5, 0.2, 0.6, 0.6, 0.8)])
    left, _, right, _ = crop_box(gradient(900, 300), "1:1", "face")
    assert abs((left + right) / 2 - 450) < 20


@pytest.mark.usefixtures("no_detector")
def test_face_gravity_without_a_detector_gives_way() -> None:
    image = portrait(0.85, LIGHT[1])
    assert crop_box(image, "1:1", "face") == crop_box(image, "1:1", "smart")
    step = TRANSFORMS["crop"](aspect="1:1", gravity=["face", "left"])
    assert step.apply(ImageView.from_image(image), TransformContext(10**9)).box == (0, 0, 300, 300)


def test_an_even_image_leaves_the_choice_to_the_next_gravity() -> None:
    step = TRANSFORMS["crop"](aspect="1:1", gravity=["smart", "right"])
    for color in ("red", "black", "white", (200, 150, 120)):
        view = ImageView.from_image(Image.new("RGB", (300, 100), color))
        assert step.apply(view, TransformContext(10**9)).box == (200, 0, 300, 100)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (2, 3), (17, 16), (5000, 7), (33, 320)])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_every_size_and_mode_has_a_crop(size: tuple[int, int], mode: str) -> None:
    image = noise(size, 120).convert(mode)
    for aspect in ("1:1", "9999:1", "1:9999", "16:9"):
        for gravity in ("smart", "face"):
            left, top, right, bottom = crop_box(image, aspect, gravity)
            assert 0 <= left < right <= size[0]
            assert 0 <= top < bottom <= size[1]


def test_several_crops_of_the_same_pixels_need_one_analysis(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(smart, "find_faces", calls.append)
    view, context = ImageView.from_image(portrait(0.3, LIGHT[0])), TransformContext(10**9)
    steps = [TRANSFORMS["crop"](aspect=aspect, gravity=["face", "smart"]) for aspect in ("1:1", "9:16", "16:9", "4:5")]
    for step in steps[:3]:
        step.apply(view, context)
    assert len(calls) == 1
    steps[3].apply(ImageView.from_image(gradient(90, 30)), context)
    assert len(calls) == 2


def test_a_window_holds_all_heads_or_cuts_none() -> None:
    flat = [1.0] * 100
    apart = [Span(0.1, 0.2, 1.0), Span(0.7, 0.8, 0.9)]
    left = best_start(flat, 0.4, apart, 3.0, down=False) * 0.6
    assert left <= 0.1
    close = [Span(0.5, 0.62, 1.0), Span(0.7, 0.8, 0.9)]
    left = best_start(flat, 0.4, close, 3.0, down=False) * 0.6
    assert left <= 0.5
    assert left + 0.4 >= 0.8


def test_only_the_pinned_model_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_detector: None) -> None:
    monkeypatch.setattr(faces, "_package_folder", lambda _: tmp_path)
    (tmp_path / "version.py").write_text('opencv_version = "4.14.0.94"\n')
    (tmp_path / faces.MODEL_FILE).write_bytes(b"another model")
    assert faces.find_faces(Image.new("RGB", (64, 64))) is None
    assert faces.versions() == {"opencv": "4.14.0.94"}


def test_a_broken_opencv_counts_as_none(monkeypatch: pytest.MonkeyPatch, fresh_detector: None) -> None:
    def fail(_: str) -> None:
        raise OSError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr(faces, "_read_model", lambda: b"model")
    monkeypatch.setattr(faces, "import_module", fail)
    assert faces.find_faces(Image.new("RGB", (64, 64))) is None


def test_faces_without_an_extent_do_not_count() -> None:
    mark = [0.0] * 10
    nan, inf = float("nan"), float("inf")
    flat = [[10.0, 10.0, 20.0, 0.0, *mark, 0.9], [10.0, 10.0, 0.0, 20.0, *mark, 0.9]]
    odd = [[nan, 0.0, 20.0, 20.0, *mark, 0.9], [0.0, inf, 20.0, 20.0, *mark, 0.9], [0.0, 0.0, 20.0, 20.0, *mark, nan]]
    assert faces._heads([*flat, *odd], (320, 16)) == []
    assert len(faces._heads([*flat, [5.0, 1.0, 12.0, 12.0, *mark, 0.8]], (320, 16))) == 1


def test_noise_of_any_seed_has_a_crop() -> None:
    dice = random.Random(7)
    for size in ((5000, 80), (320, 16), (17, 16), (16, 320)) * 6:
        image = Image.frombytes("L", size, dice.randbytes(size[0] * size[1]))
        left, top, right, bottom = crop_box(image, "16:9", "face")
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]


def test_the_detector_finds_faces_and_the_versions_name_it() -> None:
    pytest.importorskip("cv2", reason="no OpenCV: requirements-dev.txt installs it, and the package of the model")
    scene = make_scene("benchmark 3", LIGHT)
    left, top, right, bottom = scene.heads[0]
    small = scene.image.copy()
    small.thumbnail((320, 320))
    found = faces.find_faces(small)
    assert found
    across, down = (left + right) / 2 / scene.image.width, (top + bottom) / 2 / scene.image.height
    assert any(head.left < across < head.right and head.top < down < head.bottom for head in found)
    assert found == faces.find_faces(small)
    assert {"opencv", "face_model"} <= versions().keys()


def test_the_revision_of_a_gravity_counts_where_it_is_used() -> None:
    assert gravity_revisions("center") == gravity_revisions(None) == {}
    assert gravity_revisions(["focal", "smart", "center"]) == {"gravity smart": 2}
    assert gravity_revisions("face") == {"gravity face": 1, "gravity smart": 2}
    assert gravity_revisions(["face", "center"]) == {"gravity face": 1}


def test_a_contact_sheet_shows_each_image(tmp_path: Path) -> None:
    draw_sheet([portrait(0.3, LIGHT[0])], tmp_path / "sheet.png", side=60)
    assert Image.open(tmp_path / "sheet.png").getcolors(1) is None
