"""Options of renditions: size in bytes, metadata, format, and computed values."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import ExifTags, Image, ImageCms

from pipeline.engine.encode import encoder, formats, placeholders, quality_search
from pipeline.engine.errors import EngineError
from pipeline.engine.protocol import Job

from .conftest import Made, Run, encoded, gradient, job, noise, rendition, steps
from .measures import worst
from .profiles import delta_e, display_p3, dull_cmyk

NOISY = Image.blend(gradient(600, 400), noise((600, 400), 70).convert("RGB"), 0.15)


def with_output(kind: str = "jpeg", shared: Any = None, options: dict[str, Any] | None = None, **output: Any) -> Job:
    """Build a job of one rendition with options."""
    document = job(rendition("out", kind, **(options or {})), shared=shared)
    document["renditions"][0]["output"] = output
    return document


@pytest.mark.parametrize("kind", ["jpeg", "webp", "avif"])
@pytest.mark.parametrize("most", [5_000, 12_000, 10**6])
def test_max_bytes_is_kept_and_not_wasted(run: Run, monkeypatch: pytest.MonkeyPatch, kind: str, most: int) -> None:
    following: list[int] = []

    def search(encode: Callable[[int], bytes], top: int, limit: int) -> tuple[int, bytes]:
        quality, body = quality_search.find_quality(encode, top, limit)
        following.append(len(encode(min(quality + 1, top))))
        return quality, body

    monkeypatch.setattr(encoder, "find_quality", search)
    (made,) = run(encoded(NOISY), with_output(kind, max_bytes=most))["renditions"]
    (best,) = run(encoded(NOISY), with_output(kind))["renditions"]
    assert made["size"] <= most
    # libaom drops the noise of this image from one quantizer to the next: its file has 13,329 bytes, then 5,904.
    assert made["size"] > min(most, best["size"]) * 0.7 or following[0] > most


def test_max_bytes_that_are_impossible_are_named(run: Run) -> None:
    failure = run(encoded(NOISY), with_output("webp", max_bytes=300))["failure"]
    assert failure["kind"] == "max_bytes_impossible"
    assert "more than 300" in failure["message"]
    for kind in ("png", "gif", "tiff"):
        message = run(encoded(NOISY), with_output(kind, max_bytes=300))["failure"]["message"]
        assert "no quality that could be lowered" in message
        assert "use webp, avif or jpeg" in message
        assert ("fewer colors" in message) == (kind != "tiff")
    lossless = run(encoded(NOISY), with_output("webp", options={"lossless": True}, max_bytes=300))["failure"]
    assert "turn lossless off" in lossless["message"]


@pytest.mark.parametrize("growth", [1.02, 1.05, 1.15])
@pytest.mark.parametrize("most", [200, 500, 1_000, 5_000, 50_000])
def test_the_search_never_takes_more_than_six_encodes(growth: float, most: int) -> None:
    tried: list[int] = []

    def encode(quality: int) -> bytes:
        tried.append(quality)
        return b"x" * round(100 * growth**quality)

    try:
        quality, body = quality_search.find_quality(encode, 90, most)
    except EngineError:
        assert 100 * growth**quality_search.MIN_QUALITY > most
    else:
        assert len(body) == round(100 * growth**quality) <= most
        assert quality == 90 or 100 * growth ** (quality + 6) > most or len(body) > most * 0.9
    assert len(tried) <= quality_search.MAX_ENCODES


@pytest.mark.parametrize("place", [10, 44, 70])
@pytest.mark.parametrize("jump", [2, 10])
def test_the_search_gets_near_the_best_quality_where_sizes_jump(place: int, jump: int) -> None:
    sizes = [round(500 * 1.03**quality * (jump if quality > place else 1)) for quality in range(81)]
    for most in range(sizes[quality_search.MIN_QUALITY], sizes[80], sizes[80] // 200):
        quality, body = quality_search.find_quality(lambda quality: b"x" * sizes[quality], 80, most)
        best = max(each for each in range(81) if sizes[each] <= most)
        assert len(body) == sizes[quality] <= most
        assert quality >= best - 7 or len(body) >= most * quality_search.ACCEPTED_FRACTION


def test_the_search_does_not_fall_back_to_the_lowest_quality_after_a_steep_part() -> None:
    sizes = [round(20_000 * 1.01**quality * 1.15 ** max(0, quality - 55)) for quality in range(81)]
    for most in range(sizes[30], sizes[80], 100):
        quality, _ = quality_search.find_quality(lambda quality: b"x" * sizes[quality], 80, most)
        assert quality >= max(each for each in range(81) if sizes[each] <= most) - 7


def test_auto_takes_the_smallest_and_tries_each_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: dict[str, int] = {}
    original = formats.Format.encode

    def counted(self: formats.Format, *rest: Any) -> bytes:
        body = original(self, *rest)
        assert self.name not in sizes
        sizes[self.name] = len(body)
        return body

    monkeypatch.setattr(formats.Format, "encode", counted)
    (made,) = run(encoded(NOISY), with_output("auto"))["renditions"]
    assert set(sizes) == {"jpeg", "webp", "avif"}
    assert made["format"] == min(sizes, key=lambda name: sizes[name])


def test_auto_never_drops_transparency(run: Run) -> None:
    clear = NOISY.convert("RGBA")
    clear.putalpha(99)
    (made,) = run(encoded(clear), with_output("auto", options={"among": ["jpeg", "png"]}))["renditions"]
    assert made["format"] == "png"


def test_auto_skips_formats_that_cannot_hold_the_image(run: Run) -> None:
    wide = encoded(gradient(16_400, 2))
    (made,) = run(wide, with_output("auto", options={"among": ["webp", "jpeg"]}))["renditions"]
    assert (made["format"], made["width"]) == ("jpeg", 16_400)
    failure = run(wide, with_output("auto", options={"among": ["webp"]}))["failure"]
    assert (failure["kind"], "16383" in failure["message"]) == ("rendition_too_large", True)


def test_auto_makes_no_avif_beyond_the_default_read_limit(run: Run) -> None:
    wide = encoded(Image.new("1", (32_769, 9)), "PNG")
    (made,) = run(wide, with_output("auto"))["renditions"]
    assert made["format"] in ("png", "jpeg")
    failure = run(wide, with_output("avif"))["failure"]
    assert (failure["kind"], "32768" in failure["message"]) == ("rendition_too_large", True)


def test_auto_takes_another_format_for_max_bytes(run: Run) -> None:
    drawing = Image.new("L", (300, 200), 255)
    drawing.paste(noise((80, 60), 255).convert("1"), (20, 20))
    body, options = encoded(drawing.convert("RGB")), {"among": ["jpeg", "png"], "quality": 95}
    (free,) = run(body, with_output("auto", options=options))["renditions"]
    assert free["format"] == "png"
    (made,) = run(body, with_output("auto", options=options, max_bytes=free["size"] - 1))["renditions"]
    assert (made["format"], made["size"] < free["size"]) == ("jpeg", True)
    failure = run(body, with_output("auto", options=options, max_bytes=300))["failure"]
    assert (failure["kind"], "png" in failure["message"]) == ("max_bytes_impossible", True)


def test_auto_without_transparency_is_no_answer_to_a_limit(run: Run) -> None:
    clear = NOISY.convert("RGBA")
    clear.putalpha(99)
    options = {"among": ["jpeg", "png"]}
    assert run(encoded(clear), with_output("auto", options=options, max_bytes=9000))["failure"]


@pytest.mark.parametrize(
    ("source", "format_name"),
    [
        ("JPEG", "jpeg"),
        ("PNG", "png"),
        ("WEBP", "webp"),
        ("GIF", "gif"),
        ("TIFF", "tiff"),
        ("AVIF", "avif"),
        ("BMP", "png"),
    ],
)
def test_keep_writes_the_format_of_the_source(run: Run, source: str, format_name: str) -> None:
    (made,) = run(encoded(gradient(40, 30), source), with_output("keep"))["renditions"]
    assert made["format"] == format_name


def _camera_file() -> bytes:
    """Encode a JPEG with the metadata of a camera."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Copyright] = "someone"
    exif[ExifTags.Base.Make] = "maker"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FNumber] = 2.8
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = b"secret"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return encoded(gradient(40, 30), "JPEG", exif=exif)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "avif", "tiff"])
@pytest.mark.parametrize(
    ("keep", "tags"),
    [
        ([], set()),
        (["copyright"], {"Copyright"}),
        (["exif"], {"Copyright", "Make", "FNumber"}),
        (["location"], {"GPSLatitudeRef"}),
        (["exif", "location"], {"Copyright", "Make", "FNumber", "GPSLatitudeRef"}),
    ],
)
def test_only_the_metadata_that_was_named_is_kept(made: Made, kind: str, keep: list[str], tags: set[str]) -> None:
    exif = made(_camera_file(), with_output(kind, keep=keep)).getexif()
    everything = {
        **dict(exif),
        **exif.get_ifd(ExifTags.IFD.Exif),
        **{ExifTags.GPS(tag).name: value for tag, value in exif.get_ifd(ExifTags.IFD.GPSInfo).items()},
    }
    if kind == "tiff":
        tags = tags & {"Copyright", "Make"}  # libtiff writes no directories of camera settings or locations
    names = {tag if isinstance(tag, str) else ExifTags.TAGS.get(tag) for tag in everything}
    assert names & {"Copyright", "Make", "FNumber", "GPSLatitudeRef", "Orientation", "UserComment", "MakerNote"} == tags


def test_icc_is_kept_as_srgb_or_as_the_source_has_it(made: Made) -> None:
    profile = made(_camera_file(), with_output("jpeg", keep=["icc"])).info["icc_profile"]
    assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    wide = display_p3()
    body = encoded(gradient(40, 30), "PNG", icc_profile=wide)
    kept = made(body, with_output("png", steps(("to_srgb", {"keep_profile": True})), keep=["icc"]))
    assert kept.info["icc_profile"] == wide
    assert worst(kept, gradient(40, 30)) == 0


@pytest.mark.parametrize("intent", ["perceptual", "relative"])
def test_wide_gamut_is_converted_as_littlecms_does(made: Made, intent: str) -> None:
    """Display-P3: ΔE below 1 against LittleCMS called directly, and far from the result without the profile."""
    image = gradient(40, 30)
    shown = made(encoded(image, icc_profile=display_p3()), job(shared=steps(("to_srgb", {"intent": intent}))))
    direct = ImageCms.profileToProfile(
        image, ImageCms.ImageCmsProfile(io.BytesIO(display_p3())), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert direct is not None
    assert delta_e(shown, direct) < 1
    assert delta_e(shown, image) > 5


def test_cmyk_is_converted_by_its_profile(made: Made) -> None:
    """CMYK: ΔE below 1 against LittleCMS called directly, and far from the result without the profile."""
    image = gradient(40, 30).convert("CMYK")
    profile = dull_cmyk()
    for kind in ("TIFF", "JPEG"):
        body = encoded(
            image, kind, icc_profile=profile, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {})
        )
        with Image.open(io.BytesIO(body)) as stored:
            direct = ImageCms.profileToProfile(
                stored,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
        assert direct is not None
        shown = made(body)
        assert delta_e(shown, direct) < 1
        assert delta_e(shown, image.convert("RGB")) > 10


def test_alpha_goes_through_a_profile_unchanged(made: Made) -> None:
    image = gradient(40, 30)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    shown = made(encoded(image, icc_profile=display_p3()))
    assert worst(shown.getchannel("A"), image.getchannel("A")) == 0


def test_if_larger_takes_the_source_without_its_location(run: Run, tmp_path: Any) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    for kind in ("JPEG", "PNG", "WEBP"):
        body = encoded(NOISY, kind, quality=40, exif=exif)
        name = kind.lower()
        report = run(
            body,
            with_output(name, if_larger="source", options={"compression": 0} if name == "png" else {"quality": 95}),
        )
        taken = (tmp_path / "out").read_bytes()
        assert len(taken) <= len(body)
        assert b"Exif" not in taken
        assert report["renditions"][0]["size"] == len(taken)
        with Image.open(io.BytesIO(taken)) as shown, Image.open(io.BytesIO(body)) as source:
            assert worst(shown.convert("RGB"), source.convert("RGB")) == 0
            assert not shown.getexif()


def test_a_file_that_was_changed_is_never_taken_from_the_source(made: Made) -> None:
    body = encoded(NOISY, "JPEG", quality=20)
    document = with_output("jpeg", steps(("brightness", {"factor": 0.0})), {"quality": 95}, if_larger="source")
    assert made(body, document).convert("L").getextrema()[1] < 5


def test_a_placeholder_and_a_color_are_reported(run: Run) -> None:
    picture = Image.new("RGB", (90, 60), "#204080")
    for kind in ("thumbhash", "blurhash"):
        (made,) = run(encoded(picture), with_output("png", placeholder=kind, dominant_color=True))["renditions"]
        assert made["extra"]["dominant_color"] == "#204080"
        assert made["extra"][kind].isascii()


def test_a_thumbhash_holds_mean_color_shape_and_alpha() -> None:
    body = base64.b64decode(placeholders.thumbhash(Image.new("RGB", (90, 60), (255, 0, 0))))
    header = int.from_bytes(body[:3], "little")
    light, yellow, pink = header & 63, (header >> 6) & 63, (header >> 12) & 63
    assert (light, yellow, pink, header >> 23) == (21, 47, 63, 0)
    wide = int.from_bytes(body[3:5], "little")
    assert (wide >> 15, wide & 7) == (1, 5)
    clear = base64.b64decode(placeholders.thumbhash(Image.new("RGBA", (60, 90), (255, 0, 0, 100))))
    assert int.from_bytes(clear[:3], "little") >> 23 == 1


def test_a_blurhash_tells_the_mean_color() -> None:
    text = placeholders.blurhash(Image.new("RGB", (90, 60), (255, 128, 0)))
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
    value = 0
    for char in text[2:6]:
        value = value * 83 + digits.index(char)
    assert value.to_bytes(3, "big") == bytes((255, 128, 0))
    assert len(text) == 6 + 2 * 11
    assert text[0] == digits[3 + 2 * 9]


def test_a_file_that_was_cut_short_is_patched_when_told(run: Run, made: Made) -> None:
    body = encoded(gradient(400, 300), "JPEG", quality=90)
    cut = body[: len(body) // 2]
    shown = made(cut, job(rendition("out", "png"), on_truncated="patch"))
    assert shown.size == (400, 300)
    assert worst(shown.crop((0, 0, 400, 60)), Image.open(io.BytesIO(body)).convert("RGB").crop((0, 0, 400, 60))) == 0
    (rendition_report,) = run(cut, job(on_truncated="patch"))["renditions"]
    assert rendition_report["extra"] == {"patched": "true"}
    (whole,) = run(body, job(on_truncated="patch"))["renditions"]
    assert whole["extra"] == {}


def _patterned(mode: str) -> Image.Image:
    """Draw an image whose waves all differ, so that no rounding falls on a tie."""
    body = bytes(
        (x * x * 7 + y * y * 3 + x * y * 5 * (c + 1) + c * 40) % (151 + c * 17)
        for y in range(32)
        for x in range(32)
        for c in range(4)
    )
    return Image.frombytes("RGBA", (32, 32), body).convert(mode)


def test_placeholders_are_those_of_the_reference_implementations() -> None:
    """Expected values: the npm package thumbhash 0.1.1 and the PyPI package blurhash on the same pixels."""
    assert placeholders.thumbhash(_patterned("RGBA")) == "leeBBQAGRDSwPImEdZQv5++lufhIqpx5lQ=="
    assert placeholders.thumbhash(_patterned("RGB")) == "lecBBwJTVXbQWoiXNKllaFdqF7qQu18K"
    assert placeholders.blurhash(_patterned("RGB")) == "L1A1YFwBmpq3:oto$]T8vib^J69r"
