"""BMP run lengths: expand RLE8 and RLE4. Pillow before version 12 misreads RLE4, and later ones refuse an early end."""

from __future__ import annotations

_NIBBLES = bytes.maketrans(b"0123456789abcdef", bytes(range(16)))

_END_OF_LINE, _END_OF_BITMAP, _MOVE = 0, 1, 2


def expand_runs(data: bytes, width: int, height: int, *, half: bool) -> tuple[bytearray, bool]:
    """Expand runs to one byte per pixel, from the last row to the first. `half` says that indices have 4 bits (RLE4).

    Return the pixels, and whether the data is complete. Pixels that no run covers have index 0.
    """
    pixels = bytearray(width * height)
    x = y = at = 0
    while at + 2 <= len(data) and y < height:
        count, value = data[at], data[at + 1]
        at += 2
        if count:
            run = bytes((value >> 4, value & 15)) * 128 if half else bytes((value,)) * 255
        elif value == _END_OF_LINE:
            x, y = 0, y + 1
            continue
        elif value == _END_OF_BITMAP:
            return pixels, True
        elif value == _MOVE:
            if at + 2 > len(data):
                break
            x, y = x + data[at], y + data[at + 1]
            at += 2
            continue
        else:
            count, size = value, (value + 1) // 2 if half else value
            run = data[at : at + size]
            if len(run) < size:
                break
            at += size + size % 2
            run = run.hex().encode().translate(_NIBBLES) if half else run
        fits = max(0, min(count, width - x))
        pixels[y * width + x : y * width + x + fits] = run[:fits]
        x += count
    return pixels, y >= height or (y == height - 1 and x >= width)
