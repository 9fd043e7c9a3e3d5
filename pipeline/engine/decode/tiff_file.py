"""TIFF files: Pillow's reader, held to the layouts that `tiff_layout` knows, and to the orientation in the tags."""

from __future__ import annotations

import io
import struct
from typing import Any, cast

from PIL import Image, ImagePalette, TiffImagePlugin

from ..containers import tiff_tags
from ..errors import EngineError
from . import tiff_layout
from .exif import without_other_metadata
from .tiff_layout import Carrier, Layout

_STAND_IN: dict[int, Any] = {
    tiff_tags.BITS: (8,),
    tiff_tags.PHOTOMETRIC: tiff_layout.BLACK_IS_ZERO,
    tiff_tags.FILL_ORDER: 1,
    tiff_tags.SAMPLES: 1,
    tiff_tags.PLANAR: 1,
    tiff_tags.EXTRA_SAMPLES: (),
    tiff_tags.SAMPLE_FORMAT: (1,),
}
"""Tags of a plain gray page, which Pillow sees in place of those of a page that is read into a carrier.

libtiff reads the file itself, with its own tags.
"""


class TiffFile(TiffImagePlugin.TiffImageFile):
    """An opened TIFF. A page with an unsupported layout has a size, and raises `unsupported_variant` when loaded."""

    _refusal: EngineError | None = None
    _layout: Layout | None = None
    _carrier: Carrier | None = None
    _colors = b""

    def _setup(self) -> None:
        """Prepare the selected page, after Pillow has read its tags."""
        self._refusal = self._layout = self._carrier = None
        try:
            self._layout = tiff_layout.read_layout(self.tag_v2)
            self._carrier = tiff_layout.choose_carrier(self._layout)
            self._check()
        except EngineError as refusal:
            self._refusal, self._carrier = refusal, Carrier("L", "L", "L")
        if self._carrier is None:
            self._setup_plainly()
        else:
            self._setup_carrier(self._carrier)

    def _check(self) -> None:
        """Check what the layout does not tell: the palette and the inks."""
        assert self._layout is not None  # noqa: S101 - _setup has read it
        if self._layout.photometric == tiff_layout.PALETTE:
            self._colors = tiff_layout.palette_colors(self.tag_v2, self._layout.bits)
        if self._layout.photometric == tiff_layout.CMYK:
            tiff_layout.check_inks(self.tag_v2)

    def _setup_plainly(self) -> None:
        """Let Pillow prepare a page whose layout it reads right."""
        assert self._layout is not None  # noqa: S101 - _setup has read it
        # Pillow's own reader of uncompressed data ignores the subsampling of colors.
        through_libtiff = self._layout.photometric == tiff_layout.YCBCR
        fill = {tiff_tags.FILL_ORDER: 1} if through_libtiff else {}
        self._setup_with(fill, libtiff=through_libtiff)
        if self._colors and self.mode in ("P", "PA") and self._layout.photometric == tiff_layout.PALETTE:
            self.palette = ImagePalette.raw("RGB", self._colors)

    def _setup_carrier(self, carrier: Carrier) -> None:
        """Prepare a page that libtiff decodes into a carrier."""
        plain = {**_STAND_IN, tiff_tags.COMPRESSION: self.tag_v2.get(tiff_tags.COMPRESSION, 1)}
        if self._refusal:
            plain[tiff_tags.COMPRESSION] = 1
        self._setup_with(plain, libtiff=True)
        self._mode = carrier.mode
        # The first argument of the decoder is the raw mode.
        self.tile = [
            tile._replace(args=(carrier.raw_mode, *cast("tuple[Any, ...]", tile.args)[1:])) for tile in self.tile
        ]
        if carrier.mode == "P":
            self.palette = ImagePalette.raw("RGB", self._colors)

    def _setup_with(self, tags: dict[int, Any], *, libtiff: bool) -> None:
        """Let Pillow prepare the page as if it had other `tags`; decode it with `libtiff` or as Pillow decides."""
        true = {tag: self.tag_v2[tag] for tag in tags if tag in self.tag_v2}
        before = TiffImagePlugin.READ_LIBTIFF
        TiffImagePlugin.READ_LIBTIFF = before or libtiff
        try:
            for tag, value in tags.items():
                self.tag_v2[tag] = value
            super()._setup()
        finally:
            TiffImagePlugin.READ_LIBTIFF = before
            for tag in tags:
                del self.tag_v2[tag]
            for tag, value in true.items():
                self.tag_v2[tag] = value

    @property
    def meaning(self) -> str:
        """Mode of the pixels once they are loaded."""
        return self._carrier.meaning if self._carrier else self.mode

    def load(self) -> Any:  # noqa: ANN401 - Pillow does not export the class
        """Decode the selected page, and make the image from its carrier.

        Raises:
            EngineError: `unsupported_variant`: the engine cannot read the layout of the page.
        """
        if self._refusal:
            raise self._refusal
        # Pillow loads the page again when it rotates it, also a damaged one.
        carrier, self._carrier = self._carrier, None
        try:
            super().load()
        except OSError as error:
            compression = self._layout.compression if self._layout else 0
            name = tiff_layout.OPTIONAL_COMPRESSIONS.get(compression)
            if name is None or _is_supported(compression):
                raise
            raise tiff_layout.unsupported(f"with {name} compression that libtiff cannot decode") from error
        if carrier and self._layout:
            made = tiff_layout.assemble(self, self._layout, self._colors)
            if made is not self:
                self.im, self._mode, self.palette = made.im, made.mode, made.palette
        return Image.Image.load(self)

    def load_end(self) -> None:
        """Rotate the page by its own tag only."""
        with without_other_metadata(self):
            super().load_end()


_ONE_BYTE = {
    34925: bytes.fromhex(
        "fd377a585a000000ff12d941020021010c0000008f98419c010000000000000000011101ada6580406729e7a010000000000595a"
    ),
    50000: bytes.fromhex("28b52ffd200109000000"),
}
"""One byte in each compression that a build of libtiff may lack. (No wheel of Pillow has WebP in TIFF.)"""


def _is_supported(compression: int) -> bool:
    """Return True when libtiff in this session decodes a compression. Damage is then the cause of an error.

    Only decoding tells: Pillow 11 crashes when it writes a compression that libtiff lacks.
    """
    if compression not in _ONE_BYTE:
        return False
    data = _ONE_BYTE[compression]
    tags = (256, 1), (257, 1), (258, 8), (259, compression), (262, 1), (273, 8), (277, 1), (278, 1), (279, len(data))
    header = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    try:
        TiffImagePlugin.TiffImageFile(
            io.BytesIO(header + data + struct.pack("<H", len(tags)) + directory + bytes(4))
        ).load()
    except OSError:
        return False
    return True
