"""Animations: frames, durations, backgrounds and loop counts."""

from __future__ import annotations

import io
from typing import Any

import PIL
import pytest
from PIL import Image, ImageSequence

from .conftest import Made, Run, encoded, gradient, job, opened, rendition, steps
from .measures import mean, worst

COLOURS = ["red", "lime", "blue", "white"]
DURATIONS = [50, 100, 150, 200]


def moving(mode: str = "RGB") -> list[Image.Image]:
    """Draw a colored square that moves to the right, on black or on a transparent background."""
    frames = []
    for number, color in enumerate(COLOURS):
        frame = Image.new(mode, (40, 20), (0, 0, 0, 0) if mode == "RGBA" else "black")
        frame.paste(Image.new(mode, (10, 10), color), (number * 10, 5))
        frames.append(frame)
    return frames


def animation(kind: str = "GIF", mode: str = "RGB", **options: Any) -> bytes:
    """Encode an animation of moving squares."""
    first, *others = moving(mode)
    options = {"duration": DURATIONS, "loop": 0, **({"disposal": 2} if kind == "GIF" else {}), **options}
    return encoded(first, kind, save_all=True, append_images=others, **options)


def frames_of(image: Image.Image) -> list[Image.Image]:
    """Decode all frames of a file."""
    return [frame.convert("RGBA") for frame in ImageSequence.Iterator(image)]


@pytest.mark.parametrize("source", ["GIF", "WEBP", "PNG"])
@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_frames_and_their_times_survive(made: Made, source: str, kind: str, mode: str) -> None:
    options = {"lossless": True} if source == "WEBP" else {}
    body = animation(source, mode, **options)
    shown = made(body, job(rendition("out", kind, **({"lossless": True} if kind == "webp" else {}))))
    assert shown.n_frames == 4
    times = []
    for number, expected in enumerate(moving(mode)):
        shown.seek(number)
        shown.load()
        times.append(round(shown.info["duration"]))
        assert worst(shown.convert("RGBA"), expected.convert("RGBA")) <= 2, number
    assert times == DURATIONS


@pytest.mark.parametrize("disposal", [1, 2, 3])
def test_gif_disposal_methods_are_followed(made: Made, disposal: int) -> None:
    """The decoded frames of a GIF equal the display of a viewer, for every disposal method."""
    body = animation("GIF", "RGBA", disposal=disposal)
    seen = frames_of(Image.open(io.BytesIO(body)))
    shown = frames_of(made(body, job(rendition("out", "webp", lossless=True))))
    assert len(shown) == len(seen)
    assert all(worst(one, other) <= 2 for one, other in zip(shown, seen, strict=True))


@pytest.mark.parametrize("loop", [0, 3])
def test_it_is_played_as_often_as_before(made: Made, loop: int) -> None:
    gif = made(animation("GIF", loop=loop), job(rendition("out", "gif")))
    assert gif.info["loop"] == loop
    webp = made(animation("WEBP", loop=loop), job(rendition("out", "webp")))
    assert webp.info["loop"] == loop


def test_a_gif_that_is_played_once_stays_so(made: Made) -> None:
    first, *others = moving()
    body = encoded(first, "GIF", save_all=True, append_images=others, duration=50)
    assert "loop" not in made(body, job(rendition("out", "gif"))).info
    assert made(body, job(rendition("out", "webp"))).info["loop"] == 1


def test_every_frame_is_transformed_alike(made: Made) -> None:
    """A smart crop is chosen once. A crop that followed the square would show it standing still."""
    document = job(
        rendition("out", "png", ("resize", {"width": 10})),
        shared=steps(("crop", {"aspect": "1:1", "gravity": "smart"})),
    )
    shown = frames_of(made(animation(), document))
    assert [frame.size for frame in shown] == [(10, 10)] * 4
    assert mean(shown[0], shown[3]) > 5


def test_still_formats_show_the_first_frame(made: Made) -> None:
    shown = made(animation(), job(rendition("out", "jpeg", quality=95)))
    assert shown.getpixel((5, 10))[0] > 200


def test_first_takes_the_first_and_reject_refuses(run: Run, made: Made) -> None:
    document = job(rendition("out", "webp"))
    document["renditions"][0]["output"] = {"animation": "first"}
    assert getattr(made(animation(), document), "n_frames", 1) == 1
    document["renditions"][0]["output"] = {"animation": "reject"}
    assert run(animation(), document)["failure"] == {
        "kind": "animation_rejected",
        "message": "the source is an animation of 4 frames, which rendition out rejects",
        "source_format": "GIF",
    }


def test_animated_and_still_renditions_come_from_one_job(run: Run, tmp_path: Any) -> None:
    small = rendition("small", "gif", ("resize", {"width": 20}))
    report = run(animation(), job(small, rendition("still", "jpeg"), rendition("large", "webp")))
    assert report["failure"] is None
    assert report["source"]["frames"] == 4
    counts = {made["name"]: getattr(opened(tmp_path / made["file"]), "n_frames", 1) for made in report["renditions"]}
    assert counts == {"small": 4, "still": 1, "large": 4}


def test_a_frame_or_a_page_can_be_picked(made: Made, run: Run) -> None:
    pages = encoded(moving()[0], "TIFF", save_all=True, append_images=[Image.new("RGB", (7, 9), "blue")])
    assert made(pages, job(shared=steps(("frame", {"index": 1})))).size == (7, 9)
    assert made(animation(), job(shared=steps(("frame", {"index": 2})))).getpixel((25, 10))[2] > 200
    failure = run(pages, job(shared=steps(("frame", {"index": 2}))))["failure"]
    assert failure["kind"] == "frame_missing"
    assert "selects frame 2, counted from 0; the source has 2 frames" in failure["message"]


def test_the_pages_of_a_tiff_are_no_animation(made: Made) -> None:
    pages = encoded(moving()[0], "TIFF", save_all=True, append_images=moving()[1:])
    assert getattr(made(pages, job(rendition("out", "webp"))), "n_frames", 1) == 1


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_the_fallback_image_of_an_apng_is_not_a_frame(run: Run, tmp_path: Any, kind: str) -> None:
    body = encoded(
        Image.new("RGB", (40, 20), "gray"),
        save_all=True,
        append_images=moving(),
        default_image=True,
        duration=DURATIONS,
    )
    report = run(body, job(rendition("out", kind, **({"lossless": True} if kind == "webp" else {}))))
    assert (report["failure"], report["source"]["frames"]) == (None, 4)
    shown = opened(tmp_path / "out")
    assert all(worst(one, two.convert("RGBA")) == 0 for one, two in zip(frames_of(shown), moving(), strict=True))
    # A still rendition shows the same first frame as the animation.
    run(body, job(rendition("out", "png"), shared=steps(("frame", {"index": 0}))))
    assert worst(opened(tmp_path / "out").convert("RGB"), moving()[0]) == 0
    failure = run(body, job(shared=steps(("frame", {"index": 4}))))["failure"]
    assert "selects frame 4, counted from 0; the source has 4 frames" in failure["message"]


STEADY = [
    ("autocontrast", {}),
    ("equalize", {}),
    ("contrast", {"factor": 1.8}),
    ("quantize", {"colors": 8, "dither": False}),
]


def scene_with(patch: Image.Image, *, lead: list[Image.Image] | None = None) -> bytes:
    """Draw a still area next to one that changes a little from frame to frame."""
    frames = list(lead or [])
    for number in range(4):
        frame = Image.new("RGB", (80, 60), (90, 100, 110))
        frame.paste(patch, (5, 5))
        frame.paste((10 + number * 75,) * 3, (50, 10 + number, 65, 25 + number))
        frames.append(frame)
    first, *others = frames
    return encoded(first, "WEBP", save_all=True, append_images=others, duration=50, lossless=True)


@pytest.mark.parametrize(("name", "params"), STEADY)
def test_still_areas_do_not_flicker(made: Made, name: str, params: dict[str, Any]) -> None:
    patch = gradient(30, 40).point([40 + value // 2 for value in range(256)] * 3)
    kind = rendition("out", "png", (name, params))
    shown = [frame.crop((5, 5, 35, 45)) for frame in frames_of(made(scene_with(patch), job(kind)))]
    assert len(shown) == 4
    assert worst(shown[0].convert("RGB"), patch) > 3
    assert [worst(frame, shown[0]) for frame in shown] == [0] * 4


@pytest.mark.parametrize(("name", "params"), STEADY)
@pytest.mark.parametrize("color", ["black", (12, 8, 10), "white"])
def test_a_blank_first_frame_does_not_spoil_the_others(
    made: Made, name: str, params: dict[str, Any], color: Any
) -> None:
    patch = gradient(30, 40).point([40 + value // 2 for value in range(256)] * 3)
    kind = rendition("out", "png", (name, params))
    lead = Image.new("RGB", (80, 60), color)
    lead.putpixel((0, 0), (3, 3, 3))
    alone = frames_of(made(scene_with(patch), job(kind)))
    after = frames_of(made(scene_with(patch, lead=[lead]), job(kind)))[1:]
    assert [worst(one, other) for one, other in zip(after, alone, strict=True)] == [0] * 4


@pytest.mark.parametrize(("name", "params"), STEADY[:3])
def test_still_areas_do_not_flicker_next_to_changes(made: Made, name: str, params: dict[str, Any]) -> None:
    frames = []
    for level in (140, 0, 255, 140):
        frame = gradient(80, 60).point([40 + value // 2 for value in range(256)] * 3)
        frame.paste((level,) * 3, (0, 0, 30, 60))
        frames.append(frame)
    body = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=50, lossless=True)
    shown = [
        frame.crop((30, 0, 80, 60)) for frame in frames_of(made(body, job(rendition("out", "png", (name, params)))))
    ]
    assert [worst(frame, shown[0]) for frame in shown] == [0] * 4


def test_new_colors_of_later_frames_are_kept(made: Made) -> None:
    plain = gradient(80, 60).convert("L").convert("RGB")
    entered = plain.copy()
    entered.paste("red", (10, 10, 40, 40))
    body = encoded(plain, "WEBP", save_all=True, append_images=[entered], duration=50, lossless=True)
    _, shown = frames_of(made(body, job(rendition("out", "png", ("quantize", {"colors": 6, "dither": False})))))
    red, green, blue, _ = shown.getpixel((25, 25))
    assert (red > 220, green < 40, blue < 40) == (True, True, True)


def _timed(durations: list[int], kind: str = "WEBP", *, same: bool = False) -> bytes:
    frames = [Image.new("RGB", (8, 8), (0 if same else number * 20, 90, 90)) for number in range(len(durations))]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=durations, loop=0)


def _times(image: Image.Image) -> list[int]:
    times = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        image.load()
        times.append(round(image.info["duration"]))
    return times


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ([16] * 6, [20] * 6),
        ([33] * 6, [30, 40, 30, 30, 40, 30]),
        ([45, 45, 45, 45], [50, 40, 50, 40]),
        ([10, 10, 100], [10, 10, 100]),
        ([25, 1000, 25], [30, 1000, 20]),
    ],
)
def test_the_times_of_a_gif_are_as_near_as_it_can_tell(made: Made, source: list[int], shown: list[int]) -> None:
    assert _times(made(_timed(source), job(rendition("out", "gif")))) == shown


@pytest.mark.parametrize("long", [65_535, 65_537, 70_001, 100_001, 655_350])
def test_a_png_can_show_a_frame_for_long(made: Made, long: int) -> None:
    first, second = _times(made(_timed([long, 50]), job(rendition("out", "png"))))
    # Before version 12, Pillow wrote thousandths of a second only.
    assert abs(first - long) <= 5 or (int(PIL.__version__.split(".")[0]) < 12 and first == 65_535)
    assert second == 50


def test_identical_png_frames_become_one_of_any_duration(run: Run, tmp_path: Any) -> None:
    """The sum of their durations is a fraction that does not fit into the file, even in hundredths of a second."""
    body = _timed([233_337] * 3 + [50], same=True)
    assert run(body, job(rendition("out", "png")))["failure"] is None
    assert opened(tmp_path / "out").size == (8, 8)
