"""Animations: every frame, its time, what is under it, and how often it is played."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image, ImageSequence

from .conftest import Made, Run, encoded, job, opened, rendition, steps
from .measures import mean, worst

COLOURS = ["red", "lime", "blue", "white"]
DURATIONS = [50, 100, 150, 200]


def moving(mode: str = "RGB") -> list[Image.Image]:
    """A coloured square that moves to the right, on black or on clear ground."""
    frames = []
    for number, colour in enumerate(COLOURS):
        frame = Image.new(mode, (40, 20), (0, 0, 0, 0) if mode == "RGBA" else "black")
        frame.paste(Image.new(mode, (10, 10), colour), (number * 10, 5))
        frames.append(frame)
    return frames


def animation(kind: str = "GIF", mode: str = "RGB", **options: Any) -> bytes:
    first, *others = moving(mode)
    options = {"duration": DURATIONS, "loop": 0, **({"disposal": 2} if kind == "GIF" else {}), **options}
    return encoded(first, kind, save_all=True, append_images=others, **options)


def frames_of(image: Image.Image) -> list[Image.Image]:
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
def test_what_a_frame_leaves_behind_is_as_the_source_says(made: Made, disposal: int) -> None:
    """The decoded frames of a GIF are what a viewer sees, whatever is done with each frame after it was shown."""
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
    """The busiest part is chosen once: a crop that followed the square would show it standing still."""
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
        "message": "the source is an animation of 4 frames, which rendition out refuses",
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
    assert "picks frame 2; the source has 2" in failure["message"]


def test_the_pages_of_a_tiff_are_no_animation(made: Made) -> None:
    pages = encoded(moving()[0], "TIFF", save_all=True, append_images=moving()[1:])
    assert getattr(made(pages, job(rendition("out", "webp"))), "n_frames", 1) == 1


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_a_picture_for_programs_that_know_no_animation_is_no_frame(run: Run, tmp_path: Any, kind: str) -> None:
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
    # A still rendition shows the same first frame, whatever else is made.
    run(body, job(rendition("out", "png"), shared=steps(("frame", {"index": 0}))))
    assert worst(opened(tmp_path / "out").convert("RGB"), moving()[0]) == 0
    failure = run(body, job(shared=steps(("frame", {"index": 4}))))["failure"]
    assert "picks frame 4; the source has 4" in failure["message"]
