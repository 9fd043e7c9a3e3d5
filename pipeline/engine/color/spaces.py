"""Color spaces: primaries and transfer curves, and the code points that name them (ITU-T H.273)."""

from __future__ import annotations

from dataclasses import dataclass, replace

Point = tuple[float, float]
Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]

D65: Point = (0.3127, 0.3290)
_C: Point = (0.310, 0.316)


@dataclass(frozen=True)
class Primaries:
    """Chromaticities (CIE 1931 x and y) of red, green, blue and white."""

    red: Point
    green: Point
    blue: Point
    white: Point = D65

    def to_xyz(self) -> Matrix:
        """Return the matrix from linear RGB to XYZ, in which white has Y = 1.

        Raises:
            ValueError: the chromaticities describe no color space.
        """
        columns = [(x, y, 1 - x - y) for x, y in (self.red, self.green, self.blue)]
        matrix = (
            (columns[0][0], columns[1][0], columns[2][0]),
            (columns[0][1], columns[1][1], columns[2][1]),
            (columns[0][2], columns[1][2], columns[2][2]),
        )
        scale = transform(invert(matrix), white_point(self.white))
        if min(scale) <= 0:
            raise ValueError("white is outside the triangle of the primaries")
        return scaled_columns(matrix, scale)


@dataclass(frozen=True)
class Curve:
    """A transfer curve from samples to linear light, both from 0 to 1: `(a·x + b) ** gamma`, below `d` `c·x`."""

    gamma: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0

    def decode(self, sample: float) -> float:
        """Convert a sample to linear light. Values beyond 0 and 1 are clipped."""
        light = self.c * sample if sample < self.d else max(self.a * sample + self.b, 0.0) ** self.gamma
        return min(max(light, 0.0), 1.0)

    def encode(self, light: float) -> float:
        """Convert linear light to a sample: the inverse of `decode`."""
        if self.c and light < self.c * self.d:
            return light / self.c
        return float((light ** (1 / self.gamma) - self.b) / self.a)


SRGB_CURVE = Curve(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_BT709_CURVE = Curve(1 / 0.45, 1 / 1.09929682680944, 0.09929682680944 / 1.09929682680944, 1 / 4.5, 0.08124285829863)
_SMPTE240_CURVE = Curve(1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4.0, 0.0913)

BT709 = Primaries((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
_SMPTE170 = Primaries((0.630, 0.340), (0.310, 0.595), (0.155, 0.070))
BT2020 = Primaries((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))

PQ, HLG = "PQ", "HLG"


@dataclass(frozen=True)
class ColorSpace:
    """A color space of RGB samples.

    `transfer` is a curve, or `PQ` or `HLG` (ITU-R BT.2100). `peak` is the luminance of the brightest content in cd/m²,
    for HDR. `narrow` samples use the range of video: black is 16 and white 235 of 255.
    """

    primaries: Primaries
    transfer: Curve | str
    narrow: bool = False
    peak: float = 1000.0

    @property
    def hdr(self) -> bool:
        """True for PQ and HLG."""
        return isinstance(self.transfer, str)

    def full_range(self, sample: float, white: float) -> float:
        """Convert a sample of narrow range to full range. `white` is the sample 1.0 in units of 8-bit steps."""
        return min(max((sample * white - 16) / 219, 0.0), 1.0) if self.narrow else sample

    def with_srgb_curve(self) -> ColorSpace:
        """Return the space with the same primaries and the transfer curve of sRGB."""
        return replace(self, transfer=SRGB_CURVE, narrow=False)


SRGB = ColorSpace(BT709, SRGB_CURVE)

UNSPECIFIED = 2

_PRIMARIES = {
    1: BT709,
    4: Primaries((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C),
    5: Primaries((0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: _SMPTE170,
    7: _SMPTE170,
    8: Primaries((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C),
    9: BT2020,
    10: Primaries((1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (1 / 3, 1 / 3)),
    11: Primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: Primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    22: Primaries((0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),
}
"""ColourPrimaries (ITU-T H.273, table 2)."""

_TRANSFERS: dict[int, Curve | str] = {
    1: _BT709_CURVE,
    4: Curve(2.2),
    5: Curve(2.8),
    6: _BT709_CURVE,
    7: _SMPTE240_CURVE,
    8: Curve(1.0),
    11: _BT709_CURVE,
    12: _BT709_CURVE,
    13: SRGB_CURVE,
    14: _BT709_CURVE,
    15: _BT709_CURVE,
    16: PQ,
    17: Curve(2.6, (52.37 / 48) ** (1 / 2.6)),
    18: HLG,
}
"""TransferCharacteristics (ITU-T H.273, table 3), without the logarithmic ones.

A curve that H.273 gives from light to samples is inverted, as ICC profiles of these spaces do it.
"""


@dataclass(frozen=True)
class CodePoints:
    """How a file declares a color space: ColourPrimaries, TransferCharacteristics, and the range of its RGB samples."""

    primaries: int
    transfer: int
    narrow: bool = False

    def space(self) -> ColorSpace | None:
        """Return the color space; None when the code points are unspecified or not supported."""
        primaries, transfer = _PRIMARIES.get(self.primaries), _TRANSFERS.get(self.transfer)
        return ColorSpace(primaries, transfer, self.narrow) if primaries and transfer else None

    def assumed_hdr(self) -> ColorSpace | None:
        """Return the space of PQ or HLG with unspecified primaries, which then are those of BT.2020; else None."""
        transfer = _TRANSFERS.get(self.transfer)
        known = isinstance(transfer, str) and self.primaries == UNSPECIFIED
        return ColorSpace(BT2020, transfer, self.narrow) if known and transfer else None


def white_point(white: Point) -> Vector:
    """Return the XYZ of a chromaticity with Y = 1.

    Raises:
        ValueError: y is 0.
    """
    if white[1] <= 0:
        raise ValueError("the white point has no luminance")
    return white[0] / white[1], 1.0, (1 - white[0] - white[1]) / white[1]


def transform(matrix: Matrix, vector: Vector) -> Vector:
    """Multiply a matrix by a vector."""
    first, second, third = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return first, second, third


def multiply(one: Matrix, other: Matrix) -> Matrix:
    """Multiply two matrices."""
    columns = [transform(one, (other[0][i], other[1][i], other[2][i])) for i in range(3)]
    return (
        (columns[0][0], columns[1][0], columns[2][0]),
        (columns[0][1], columns[1][1], columns[2][1]),
        (columns[0][2], columns[1][2], columns[2][2]),
    )


def scaled_columns(matrix: Matrix, scale: Vector) -> Matrix:
    """Multiply each column of a matrix by a number."""
    first, second, third = ((row[0] * scale[0], row[1] * scale[1], row[2] * scale[2]) for row in matrix)
    return first, second, third


def invert(matrix: Matrix) -> Matrix:
    """Return the inverse of a matrix.

    Raises:
        ValueError: it has none.
    """
    (a, b, c), (d, e, f), (g, h, i) = matrix
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    if abs(determinant) < 1e-9:
        raise ValueError("the matrix has no inverse")
    k = 1 / determinant
    return (
        ((e * i - f * h) * k, (c * h - b * i) * k, (b * f - c * e) * k),
        ((f * g - d * i) * k, (a * i - c * g) * k, (c * d - a * f) * k),
        ((d * h - e * g) * k, (b * g - a * h) * k, (a * e - b * d) * k),
    )


_BRADFORD: Matrix = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
"""From XYZ to the cone responses of the Bradford transform (ICC.1:2022, annex E)."""

D50: Vector = (0.9642, 1.0, 0.8249)
"""White of the profile connection space (ICC.1:2022, 7.2.16)."""


def adaptation(white: Vector, target: Vector) -> Matrix:
    """Return the Bradford matrix that adapts XYZ from one white to another."""
    before, after = transform(_BRADFORD, white), transform(_BRADFORD, target)
    gains = (after[0] / before[0], after[1] / before[1], after[2] / before[2])
    return multiply(scaled_columns(invert(_BRADFORD), gains), _BRADFORD)


def to_srgb_matrix(primaries: Primaries) -> Matrix:
    """Return the matrix from linear RGB of `primaries` to linear sRGB. White becomes white."""
    adapted = multiply(adaptation(white_point(primaries.white), white_point(D65)), primaries.to_xyz())
    return multiply(invert(BT709.to_xyz()), adapted)
