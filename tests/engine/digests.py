"""Digests of renditions over all transforms, encoders, options and decoders, each with the revisions that made it.

    python -m tests.engine.digests            print the cases whose bytes or revisions differ from `digests.json`
    python -m tests.engine.digests --write    record the digests of this Pillow; refuse bytes that changed alone

Bytes depend on the codecs in the Pillow wheel, so `digests.json` has one section for each Pillow version and machine
architecture (and pillow_heif version, for HEIF sources). It leaves out revisions that are 1.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import PIL
from PIL import Image, ImageSequence

from benchmarks.quality import color_files, ultra_hdr
from pipeline import recipes
from pipeline.engine.execution import jobs
from pipeline.engine.revisions import decoder_revision
from pipeline.engine.transforms.registry import FIRST, TRANSFORMS
from pipeline.recipes import Recipe

from .carriers import LABEL, with_xmp, xmp
from .conftest import LIMITS, encoded, gradient, noise
from .profiles import display_p3, dull_cmyk, linear_gray

try:
    import pillow_heif
except ImportError:
    pillow_heif = None  # type: ignore[assignment,unused-ignore]

FILE = Path(__file__).with_name("digests.json")
SIZE = (96, 64)
Digests = dict[str, dict[str, Any]]


def platform_name() -> str:
    """Name the section of `digests.json` for this Python environment."""
    return f"Pillow {PIL.__version__} on {platform.machine()}"


@dataclass(frozen=True)
class Case:
    """One source through one recipe. `renditions` are as in a recipe file."""

    source: Callable[[], bytes]
    decoder: str
    renditions: tuple[dict[str, Any], ...]
    transforms: tuple[Any, ...] = ()
    changes: tuple[tuple[str, Any], ...] = ()

    def recipe(self) -> Recipe:
        """Load the recipe, as from a recipe file."""
        named = {f"r{number}": each for number, each in enumerate(self.renditions)}
        body = {"transforms": list(self.transforms), "renditions": named, **dict(self.changes)}
        return recipes.loads(json.dumps({"recipes": {"case": body}}), allow_code=True).get("case")

    def revisions(self) -> dict[str, int]:
        """Return the revisions that decide the bytes, except those that are 1."""
        found = self.recipe().revisions() | {f"decoder {self.decoder}": decoder_revision(self.decoder)}
        return {name: revision for name, revision in sorted(found.items()) if revision != 1}

    def digest(self, folder: Path) -> str:
        """Run the engine in `folder` and return 16 hexadecimal digits over all renditions and their metadata."""
        recipe = self.recipe()
        (folder / "in").write_bytes(self.source())
        (folder / "asset").write_bytes(encoded(mark()))
        job = recipe.job(
            source="in",
            report="report",
            files={each.name: each.name for each in recipe.renditions},
            limits=LIMITS,
            formats=[self.decoder],
            assets=dict.fromkeys(recipe.assets, "asset"),
            focal=(0.3, 0.6),
        )
        report = jobs.execute_job(job, folder)
        assert report["failure"] is None, report["failure"]
        made = [
            [each["format"], _body_digest(folder / each["file"], each["sha256"]), sorted(each["extra"].items())]
            for each in report["renditions"]
        ]
        return hashlib.sha256(json.dumps(made).encode()).hexdigest()[:16]


def _body_digest(rendition: Path, sha256: str) -> str:
    """Return the checksum of a rendition; of the frames for an AVIF animation, whose file holds the time of day."""
    with Image.open(rendition) as opened:
        if opened.format != "AVIF" or getattr(opened, "n_frames", 1) == 1:
            return sha256
        digest = hashlib.sha256()
        for frame in ImageSequence.Iterator(opened):
            digest.update(frame.tobytes() + str(frame.info.get("duration")).encode())
        return digest.hexdigest()


def mark() -> Image.Image:
    """Draw the asset that watermarks and overlays use: red, half transparent."""
    return Image.new("RGBA", (20, 20), (255, 0, 0, 128))


@cache
def image(mode: str, size: tuple[int, int] = SIZE) -> Image.Image:
    """Draw a gradient with noise, so that every pixel counts; RGBA and LA have an alpha from clear to opaque."""
    grain = noise(size, 20).convert("RGB")
    drawn = Image.blend(gradient(*size), grain, 0.3)
    if mode in ("RGBA", "LA"):
        drawn.putalpha(Image.linear_gradient("L").resize(size).point([max(0, value - 40) for value in range(256)]))
    return drawn.convert(mode)


def frames(count: int = 4) -> list[Image.Image]:
    """Draw the frames of an animation: a gradient that moves, brighter from the third frame on."""
    drawn = [image("RGB").transform(SIZE, Image.Transform.AFFINE, (1, 0, 8 * at, 0, 1, 0)) for at in range(count)]
    return [
        each.point([min(255, value + 60) for value in range(256)] * 3) if at > 1 else each
        for at, each in enumerate(drawn)
    ]


def file(mode: str, kind: str, **options: Any) -> Callable[[], bytes]:
    """Return a function that encodes `image(mode)` as a source file."""
    return lambda: encoded(image(mode), kind, **options)


def animation(kind: str, **options: Any) -> Callable[[], bytes]:
    """Return a function that encodes `frames()` as an animation, or as the pages of a TIFF."""
    return lambda: encoded(frames()[0], kind, save_all=True, append_images=frames()[1:], duration=70, **options)


def oriented(orientation: int) -> Callable[[], bytes]:
    """Return a function that encodes a JPEG with an EXIF orientation, a copyright and a place."""

    def build() -> bytes:
        exif = Image.Exif()
        exif.update({0x0112: orientation, 0x8298: "the owner", 0x010F: "a maker"})
        exif.get_ifd(0x8825)[1] = "N"
        exif.get_ifd(0x8769)[0x920A] = 50.0
        return encoded(image("RGB"), "JPEG", quality=90, exif=exif.tobytes())

    return build


def labelled(kind: str) -> Callable[[], bytes]:
    """Return a function that encodes a source with a label of AI-generated content and a credit."""
    return lambda: with_xmp(xmp(f'{LABEL} photoshop:Credit="the owner"'), kind, image("RGB"), quality=90)


def with_gain_map() -> bytes:
    """Encode a JPEG with an HDR gain map."""
    return ultra_hdr.write(image("RGB"), image("L", (48, 32)), ultra_hdr.Gains())


def large_jpeg() -> bytes:
    """Encode a JPEG that the engine decodes at a fraction of its size."""
    return encoded(image("RGB", (960, 640)), "JPEG", quality=90)


def heif() -> bytes:
    """Encode an HEIF source."""
    body = io.BytesIO()
    pillow_heif.from_pillow(image("RGB")).save(body, quality=90)
    return body.getvalue()


PNG = {"format": "png"}


def cases() -> dict[str, Case]:
    """Return all cases by name."""
    found = [*_transforms(), *_encoders(), *_options(), *_animations(), *_decoders(), *_declared_colors(), *_scales()]
    assert len(dict(found)) == len(found)
    return dict(found)


def _transforms() -> Iterator[tuple[str, Case]]:
    """Every transform with its example on each mode, and its other parameters on RGB."""
    for name, kind in TRANSFORMS.items():
        if name not in FIRST:
            for mode in ("L", "RGB", "RGBA"):
                yield f"{name} {mode}", Case(file(mode, "PNG"), "PNG", (PNG,), ({name: kind.example},))
    variants: dict[str, list[dict[str, Any]]] = {
        "crop": [{"box": [5, 6, 70, 60]}, {"aspect": "1:1", "gravity": "smart"}, {"aspect": "3:1", "gravity": "top"}],
        "resize": [
            *({"width": 40, "height": 40, "mode": mode} for mode in ("fit", "contain", "pad", "stretch")),
            *({"width": 33, "filter": kernel} for kernel in ("bicubic", "bilinear", "box", "nearest")),
            {"scale": 1.7, "enlarge": True},
        ],
        "border": [{"width": "10%", "color": "#ff000080"}],
        "rotate": [{"degrees": 90}, {"degrees": 33, "expand": False, "background": "transparent"}],
        "flip": [{"axis": "vertical"}],
        "tint": [{"color": "teal", "amount": 1.0}],
        "quantize": [{"colors": 5, "dither": False}],
        "pixelate": [{"block": 7}],
        "watermark": [{"image": "logo.png", "tile": True, "margin": 5, "opacity": 0.5}],
        "overlay": [{"image": "logo.png", "blend": blend, "opacity": 0.6} for blend in ("normal", "screen")],
        "text": [
            {"text": "one two three four", "size": 20, "gravity": "top-right", "shadow": "transparent"},
            {"text": "one two three four", "size": 9, "wrap": False, "color": "#ff0000"},
        ],
    }
    for name, several in variants.items():
        for params in several:
            yield f"{name} {json.dumps(params)}", Case(file("RGB", "PNG"), "PNG", (PNG,), ({name: params},))


def _encoders() -> Iterator[tuple[str, Case]]:
    """Every encoder with its options on each mode."""
    options: list[dict[str, Any]] = [
        {"format": "jpeg"},
        {"format": "jpeg", "quality": 35, "progressive": False, "optimize": False, "subsampling": "4:4:4"},
        {"format": "jpeg", "subsampling": "4:2:2", "background": "navy"},
        {"format": "png"},
        {"format": "png", "compression": 1},
        {"format": "png", "colors": 16},
        {"format": "webp"},
        {"format": "webp", "quality": 40, "effort": 6},
        {"format": "webp", "lossless": True},
        {"format": "avif"},
        {"format": "avif", "quality": 30, "speed": 10, "subsampling": "4:4:4"},
        {"format": "gif"},
        {"format": "gif", "colors": 8},
        *({"format": "tiff", "compression": kind} for kind in ("lzw", "deflate", "none")),
        {"format": "auto"},
        {"format": "auto", "among": ["png", "jpeg"], "quality": 50},
    ]
    for each in options:
        for mode in ("L", "RGB", "RGBA"):
            yield f"encode {json.dumps(each)} {mode}", Case(file(mode, "PNG"), "PNG", (each,))


def _options() -> Iterator[tuple[str, Case]]:
    """Every option of renditions."""
    for each in (
        {"placeholder": "thumbhash"},
        {"placeholder": "blurhash"},
        {"dominant_color": True},
        {"max_bytes": 1500},
    ):
        for mode in ("RGB", "RGBA"):
            yield f"{each} {mode}", Case(file(mode, "PNG"), "PNG", ({"format": "webp", **each},))
    for kind in ("jpeg", "png", "webp", "avif", "tiff"):
        yield f"keep metadata in {kind}", Case(oriented(1), "JPEG", ({"format": kind, "keep": ["exif", "location"]},))
        yield f"keep copyright in {kind}", Case(oriented(1), "JPEG", ({"format": kind, "keep": ["copyright", "icc"]},))
        yield (
            f"keep label and rights in {kind}",
            Case(labelled("PNG"), "PNG", ({"format": kind, "keep": ["xmp_rights"]},)),
        )
    for width in (96, 40):
        kept = {"format": "jpeg", "keep": ["gain_map"], "transforms": [{"resize": {"width": width}}]}
        yield f"keep the gain map at {width}", Case(with_gain_map, "JPEG", (kept,))
    for name in ("JPEG", "PNG", "WEBP"):
        own = Case(file("RGB", name), name, ({"format": name.lower(), "if_larger": "source"},))
        yield f"the source itself {name}", own
        options = {"format": name.lower(), "if_larger": "source", "keep": ["xmp_rights"]}
        yield f"the source itself with a label {name}", Case(labelled(name), name, (options,))
        yield f"drop the label of {name}", Case(labelled(name), name, ({"format": "webp", "ai_label": "drop"},))


def _animations() -> Iterator[tuple[str, Case]]:
    """Animations from each format into each format, and transforms that smooth over frames."""
    for decoder in ("GIF", "PNG", "WEBP", "AVIF"):
        for kind in ("gif", "png", "webp", "avif", "keep"):
            yield f"animation {decoder} to {kind}", Case(animation(decoder), decoder, ({"format": kind},))
    for step in ("autocontrast", "equalize", {"contrast": 1.4}, {"quantize": 6}, "trim", {"crop": {"aspect": "1:1"}}):
        yield (
            f"animation through {step}",
            Case(animation("PNG"), "PNG", ({"format": "webp", "lossless": True},), (step,)),
        )
    yield "first frame", Case(animation("GIF"), "GIF", ({"format": "gif", "animation": "first"},))
    for decoder in ("GIF", "PNG", "WEBP", "AVIF", "TIFF"):
        yield f"frame 2 of {decoder}", Case(animation(decoder), decoder, (PNG,), ({"frame": 2},))


def _decoders() -> Iterator[tuple[str, Case]]:
    """Sources of every format, in the modes that the format has, with profiles and orientations."""
    stored = {
        "JPEG": ("L", "RGB", "CMYK"),
        "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
        "GIF": ("L", "P", "RGBA"),
        "BMP": ("1", "L", "P", "RGB", "RGBA"),
        "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "I;16", "I", "F"),
        "WEBP": ("RGB", "RGBA"),
        "AVIF": ("RGB", "RGBA"),
    }
    for decoder, modes in stored.items():
        for mode in modes:
            yield f"decode {decoder} {mode}", Case(_stored(mode, decoder), decoder, (PNG, {"format": "keep"}))
    for orientation in range(2, 9):
        yield f"orientation {orientation}", Case(oriented(orientation), "JPEG", (PNG,))
    profiles = {"display P3": ("RGB", display_p3), "linear gray": ("L", linear_gray), "dull CMYK": ("CMYK", dull_cmyk)}
    for name, (mode, profile) in profiles.items():
        tagged = file(mode, "JPEG", icc_profile=profile())
        yield f"profile {name}", Case(tagged, "JPEG", (PNG,))
        relative = {"to_srgb": {"intent": "relative"}}
        yield f"profile {name} relative", Case(tagged, "JPEG", (PNG,), (relative,))
    kept = Case(
        file("RGB", "JPEG", icc_profile=display_p3()),
        "JPEG",
        ({"format": "png", "keep": ["icc"]}, PNG),
        ({"to_srgb": {"keep_profile": True}},),
    )
    yield "profile kept", kept
    yield "lossless WebP", Case(file("RGBA", "WEBP", lossless=True), "WEBP", (PNG,))
    yield "progressive JPEG", Case(file("RGB", "JPEG", progressive=True), "JPEG", (PNG,))
    cut = lambda: large_jpeg()[:40_000]  # noqa: E731
    yield "truncated JPEG", Case(cut, "JPEG", (PNG,), changes=(("on_truncated", "patch"),))
    if pillow_heif is not None:
        yield f"decode HEIF with pillow_heif {pillow_heif.__version__}", Case(heif, "HEIF", (PNG, {"format": "keep"}))


def _declared_colors() -> Iterator[tuple[str, Case]]:
    """Color spaces by numbers, HDR with 8 and 16 bits, and the geometry of AVIF."""
    chunks = {
        "P3": [color_files.cicp(12, 13)],
        "gAMA and cHRM": [color_files.gama(45_455), color_files.chrm("Adobe RGB")],
        "linear light": [color_files.gama(100_000)],
        "PQ": [color_files.cicp(9, 16), color_files.clli(600)],
        "HLG": [color_files.cicp(9, 18)],
    }
    for name, several in chunks.items():
        for depth in (8, 16):
            yield f"PNG of {depth} bits in {name}", Case(_with_chunks(several, depth), "PNG", (PNG,))
    aperture = color_files.box(b"clap", struct.pack(">IIIIiIiI", 60, 1, 40, 1, 3, 1, -2, 1))
    rotation = color_files.box(b"irot", b"\1")
    for name, primaries, transfer in (("P3", 12, 13), ("PQ", 9, 16)):
        boxed = partial(color_files.avif, image("RGB"), primaries, transfer, aperture, rotation)
        yield f"AVIF in {name}, cut and turned", Case(boxed, "AVIF", (PNG,))


def _with_chunks(chunks: list[bytes], depth: int) -> Callable[[], bytes]:
    """Return a function that builds a PNG of 8 or 16 bits with chunks."""
    body = image("RGB").tobytes()
    factor = 257 if depth == 16 else 1
    samples = [(body[i] * factor, body[i + 1] * factor, body[i + 2] * factor) for i in range(0, len(body), 3)]
    return partial(color_files.png, SIZE, samples, *chunks, depth=depth)


def _stored(mode: str, kind: str) -> Callable[[], bytes]:
    """Return a function that encodes an image in a mode that conversion from RGB may not reach directly."""

    def build() -> bytes:
        if mode == "LAB":
            return encoded(image("RGB").convert("LAB"), kind)
        if mode == "I;16":
            wide = image("L").convert("I").point(lambda value: value * 257)
            return encoded(wide.convert("I;16"), kind)
        if mode in ("I", "F"):
            return encoded(image("L").convert(mode), kind)
        return encoded(image(mode), kind)

    return build


def _scales() -> Iterator[tuple[str, Case]]:
    """Large sources: decoding at a fraction of the size, small renditions from larger ones, crops of the first rows."""
    for width in (60, 110, 200, 400):
        steps = ({"resize": {"width": width}},)
        yield f"large JPEG to {width}", Case(large_jpeg, "JPEG", (PNG,), steps)
    several = tuple({"format": "png", "transforms": [{"resize": {"width": width}}]} for width in (800, 320, 48))
    yield "large JPEG to three widths", Case(large_jpeg, "JPEG", several)
    yield "first rows of a JPEG", Case(large_jpeg, "JPEG", (PNG,), ({"crop": {"box": [10, 10, 200, 120]}},))


def computed() -> Digests:
    """Run all cases and return digest and revisions of each."""
    found: Digests = {}
    for name, case in cases().items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = {"digest": case.digest(Path(folder)), "revisions": case.revisions()}
    return found


def recorded() -> dict[str, Digests]:
    """Read `digests.json`: the digests of every platform."""
    sections: dict[str, Digests] = json.loads(FILE.read_text(encoding="utf-8"))
    return sections


def problems(before: Digests, now: Digests) -> list[str]:
    """Compare cases by name and return one sentence for each whose bytes changed while its revisions did not."""
    return [
        f"{name}: other bytes with the same revisions; raise the revision of the part that changed"
        for name, each in now.items()
        if name in before
        and each["digest"] != before[name]["digest"]
        and each["revisions"] == before[name]["revisions"]
    ]


def main(arguments: list[str]) -> int:
    """Compare or record the digests of this platform; return the exit code."""
    sections, now = recorded(), computed()
    before = sections.get(platform_name(), {})
    wrong = problems(before, now)
    changed = [name for name, each in now.items() if before.get(name) != each]
    for line in wrong or changed:
        print(line)  # noqa: T201 - a command
    if wrong or "--write" not in arguments:
        return int(bool(wrong or changed))
    sections[platform_name()] = now
    FILE.write_text(_text(sections), encoding="utf-8")
    print(f"{len(now)} digests of {platform_name()}, {len(changed)} new or changed")  # noqa: T201 - a command
    return 0


def _text(sections: dict[str, Digests]) -> str:
    """Write JSON with one line for each case."""
    parts = []
    for title, section in sections.items():
        lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(each)}" for name, each in section.items())
        parts.append(f"  {json.dumps(title)}: {{\n{lines}\n  }}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
