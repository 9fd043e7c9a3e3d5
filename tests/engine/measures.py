"""Measures of the difference between two images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image, ImageChops, ImageMath, ImageStat


def worst(one: Image.Image, other: Image.Image) -> int:
    """Return the largest difference over all channels and pixels."""
    assert one.size == other.size
    assert one.mode == other.mode
    extrema = ImageChops.difference(one, other).getextrema()
    pairs = extrema if isinstance(extrema[0], tuple) else (extrema,)
    return int(max(pair[1] for pair in pairs))


def mean(one: Image.Image, other: Image.Image) -> float:
    """Return the mean difference over all channels and pixels."""
    assert one.size == other.size
    means = ImageStat.Stat(ImageChops.difference(one, other)).mean
    return sum(means) / len(means)


def ssim(one: Image.Image, other: Image.Image) -> float:
    """Return the structural similarity of the brightness (Wang et al. 2004) in 7×7 windows side by side; 1 is equal."""
    assert one.size == other.size
    x, y = one.convert("L").convert("F"), other.convert("L").convert("F")
    return _mean_ssim(x, y)


def _windows(image: Image.Image) -> Image.Image:
    """Average each window, in floats."""
    width, height = image.size
    return image.resize((max(1, width // 7), max(1, height // 7)), Image.Resampling.BOX)


def _mean_ssim(x: Image.Image, y: Image.Image) -> float:
    """Compute the mean structural similarity of two float images."""

    def calc(work: Callable[[dict[str, Any]], Any], **images: Image.Image) -> Image.Image:
        return ImageMath.lambda_eval(work, **images)

    xx, yy, xy = (calc(lambda a: a["p"] * a["q"], p=p, q=q) for p, q in ((x, x), (y, y), (x, y)))
    mx, my, mxx, myy, mxy = (_windows(image) for image in (x, y, xx, yy, xy))

    def formula(a: dict[str, Any]) -> Any:
        mm = a["mx"] * a["my"]
        squares = a["mx"] * a["mx"] + a["my"] * a["my"]
        variances = a["mxx"] + a["myy"] - squares
        top = (mm * 2 + C1) * ((a["mxy"] - mm) * 2 + C2)
        return top / ((squares + C1) * (variances + C2))

    # Not ImageStat: for floats it takes the mean of a histogram.
    similarity = calc(formula, mx=mx, my=my, mxx=mxx, myy=myy, mxy=mxy)
    return float(similarity.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0)))  # type: ignore[arg-type]


C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
