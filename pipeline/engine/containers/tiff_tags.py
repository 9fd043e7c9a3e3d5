"""TIFF tags by number (TIFF 6.0, part 1, section 8; BigTIFF; DNG), and the names of compressions."""

from __future__ import annotations

NEW_SUBFILE_TYPE, SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
FILL_ORDER, MAKE, STRIP_OFFSETS, STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS = 266, 271, 273, 279, 324, 325
SAMPLES, PLANAR, COLOR_MAP, INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT = 277, 284, 320, 332, 338, 339
SUB_IFDS, DNG_VERSION = 330, 50706

COMPRESSION_NAMES = {
    9: "JBIG",
    10: "JBIG",
    34661: "JBIG",
    34715: "JBIG2",
    34887: "LERC",
    34933: "PNG",
    32766: "NeXT",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34892: "lossy JPEG",
    22610: "JPEG XR",
    34934: "JPEG XR",
    50002: "JPEG XL",
    52546: "JPEG XL",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
}
"""Compressions that libtiff does not read, or not in every build."""
