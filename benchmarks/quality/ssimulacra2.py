"""SSIMULACRA2 2.1 in numpy: the perceptual distance of two sRGB images as a score. 100 is identical, 90 invisible.

The algorithm, its constants and its recursive Gaussian filter are those of libjxl (tools/ssimulacra2.cc). The filter is
computed as the finite filter that it equals. `tests/benchmarks/test_ssimulacra2.py` holds scores of libjxl's program.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.float32]

_SCALES = 6
_MIN_SIDE = 8
"""Shortest side in pixels that is halved further."""

_SIGMA = 1.5
_RADIUS = 5
_BLOCK = 120
"""Pixels that one matrix product of the filter computes."""

_C2 = 0.0009
_BIAS = 0.0037930732552754493
_ABSORBANCE = np.array(
    [[0.30, 0.622, 0.078], [0.23, 0.692, 0.078], [0.24342268924547819, 0.20476744424496821, 0.55180986650955360]]
)

_WEIGHTS: dict[int, float] = {
    1: 0.0007376606707406586,
    4: 0.0007793481682867309,
    7: 0.0004371155730107379,
    9: 1.1041726426657346,
    10: 0.00066284834129271,
    11: 0.00015231632783718752,
    13: 0.0016406437456599754,
    15: 1.8422455520539298,
    16: 11.441172603757666,
    18: 0.0007989109436015163,
    19: 0.000176816438078653,
    21: 1.8787594979546387,
    22: 10.94906990605142,
    24: 0.0007289346991508072,
    25: 0.9677937080626833,
    27: 0.00014003424285435884,
    28: 0.9981766977854967,
    29: 0.00031949755934435053,
    30: 0.0004550992113792063,
    33: 0.0013648766163243398,
    39: 7.466890328078848,
    41: 17.445833984131262,
    42: 0.0006235601634041466,
    45: 6.683678146179332,
    46: 0.00037724407979611296,
    47: 1.027889937768264,
    48: 225.20515300849274,
    51: 19.213238186143016,
    52: 0.0011401524586618361,
    53: 0.001237755635509985,
    54: 176.39317598450694,
    57: 24.43300999870476,
    58: 0.28520802612117757,
    59: 0.0004485436923833408,
    63: 34.77906344483772,
    64: 44.835625328877896,
    73: 0.0008680556573291698,
    79: 0.0005313191874358747,
    81: 0.00016533814161379112,
    87: 0.0004179171803251336,
    88: 0.0017290828234722833,
    90: 0.0020827005846636437,
    93: 8.826982764996862,
    94: 23.19243343998926,
    96: 95.1080498811086,
    97: 0.9863978034400682,
    98: 0.9834382792465353,
    99: 0.0012286405048278493,
    100: 171.2667255897307,
    101: 0.9807858872435379,
    105: 0.0005130064588990679,
    107: 0.00010854057858411537,
}
"""Weights that are not 0, by position: channel (x, y, b), scale, norm (mean, 4), map (structure, artifact, lost)."""


class Reference:
    """An original image, prepared for comparison with many distorted versions."""

    def __init__(self, image: Image.Image) -> None:
        """Prepare `image`, which has no transparency."""
        self.size = image.size
        self._scales = [(planes, [(blur(each), blur(each * each)) for each in planes]) for planes in _pyramid(image)]

    def score(self, distorted: Image.Image) -> float:
        """Return the score of `distorted`.

        Raises:
            ValueError: its size differs.
        """
        if distorted.size != self.size:
            raise ValueError(f"the images differ in size: {self.size} and {distorted.size}")
        total = 0.0
        for scale, (planes, (originals, blurred)) in enumerate(zip(_pyramid(distorted), self._scales, strict=True)):
            for channel, (plane, original, (mean, square)) in enumerate(zip(planes, originals, blurred, strict=True)):
                norms = _norms(original, mean, square, plane)
                first = (channel * len(self._scales) + scale) * 6
                total += sum(_WEIGHTS.get(first + place, 0.0) * value for place, value in enumerate(norms))
        total *= 0.9562382616834844
        total = 2.326765642916932 * total - 0.020884521182843837 * total**2 + 6.248496625763138e-05 * total**3
        return 100 - 10 * total**0.6276336467831387 if total > 0 else 100.0


def _norms(original: Plane, mean: Plane, square: Plane, plane: Plane) -> list[float]:
    """Return mean and 4-norm of the error maps: structure, artifacts and lost detail, first all means."""
    other = blur(plane)
    product = mean * other
    difference = mean - other
    structure = 2 * (blur(original * plane) - product) + _C2
    structure /= (square - mean * mean) + (blur(plane * plane) - other * other) + _C2
    structure = np.maximum(1 - (1 - difference * difference) * structure, 0)
    edges = (1 + np.abs(plane - other)) / (1 + np.abs(original - mean)) - 1
    maps = (structure, np.maximum(edges, 0), np.maximum(-edges, 0))
    fourth = [float(np.mean(np.square(np.square(each)), dtype=np.float64)) ** 0.25 for each in maps]
    return [float(np.mean(each, dtype=np.float64)) for each in maps] + fourth


def _pyramid(image: Image.Image) -> list[tuple[Plane, Plane, Plane]]:
    """Return the positive XYB planes at each scale. Each scale halves the linear light of the one before."""
    levels = np.arange(256) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4).astype(np.float32)
    light = [linear[np.asarray(band)] for band in image.convert("RGB").split()]
    scales = [_xyb(light)]
    while len(scales) < _SCALES and min(light[0].shape) >= _MIN_SIDE:
        light = [_halved(plane) for plane in light]
        scales.append(_xyb(light))
    return scales


def _halved(plane: Plane) -> Plane:
    """Average squares of 2 × 2 pixels; the last row or column stands in for a missing one."""
    height, width = plane.shape
    plane = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    rows = plane[0::2] + plane[1::2]
    return (rows[:, 0::2] + rows[:, 1::2]) * np.float32(0.25)


def _xyb(light: list[Plane]) -> tuple[Plane, Plane, Plane]:
    """Convert linear RGB to XYB, moved and scaled so that no value is negative."""
    bias = np.float32(_BIAS)
    mixed = [sum(np.float32(w) * plane for w, plane in zip(row, light, strict=True)) + bias for row in _ABSORBANCE]
    long, medium, short = (np.cbrt(np.maximum(each, 0)) - np.cbrt(bias) for each in mixed)
    y = (long + medium) * np.float32(0.5)
    return (long - medium) * np.float32(0.5 * 14) + np.float32(0.42), y + np.float32(0.01), short - y + np.float32(0.55)


@cache
def _kernel() -> NDArray[np.float64]:
    """Return the finite filter that equals libjxl's recursive Gaussian of 1.5 pixels: a sum of three cosines."""
    frequency = np.array([1, 3, 5]) * np.pi / (2 * _RADIUS)
    signs = np.array([1, -1, 1])
    p = signs / np.tan(frequency / 2)
    r = signs * p * p / np.sin(frequency)
    rho = np.exp(-0.5 * _SIGMA**2 * frequency**2) / _RADIUS
    d13, d35, d51 = p[0] * r[1] - r[0] * p[1], p[1] * r[2] - r[1] * p[2], p[2] * r[0] - r[2] * p[0]
    zeta = np.array([d35 / d13, d51 / d13, 1])
    weights = np.linalg.solve(np.array([p, r, zeta]), np.array([1, _RADIUS**2 - _SIGMA**2, zeta @ rho]))
    return np.array([weights @ np.cos(frequency * offset) for offset in range(1 - _RADIUS, _RADIUS)])


@cache
def _band(length: int) -> Plane:
    """Return the matrix that filters `length` pixels with four more on each side."""
    taps = _kernel()
    matrix = np.zeros((length + len(taps) - 1, length))
    for place in range(length):
        matrix[place : place + len(taps), place] = taps
    return matrix.astype(np.float32)


def blur(plane: Plane) -> Plane:
    """Filter a plane in both directions. Pixels outside are 0."""
    return _blur_rows(_blur_rows(plane).T).T


def _blur_rows(plane: Plane) -> Plane:
    reach = _RADIUS - 1
    height, width = plane.shape
    padded = np.zeros((height, width + 2 * reach), np.float32)
    padded[:, reach : reach + width] = plane
    result: NDArray[Any] = np.empty((height, width), np.float32)
    for start in range(0, width, _BLOCK):
        length = min(_BLOCK, width - start)
        np.matmul(padded[:, start : start + length + 2 * reach], _band(length), out=result[:, start : start + length])
    return result
