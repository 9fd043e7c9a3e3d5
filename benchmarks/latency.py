"""How long one photo takes on the warm stack: blob written to last rendition visible, beside bare Pillow.

    python -m benchmarks.latency [--photos 20]

Both are measured in the same run, one photo after the other; the ratio is what tells something, the milliseconds depend
on the machine. The function host looks for new blobs every half second, which is part of the first figure.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import statistics
import time
from pathlib import Path

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient, ContainerClient
from PIL import Image, ImageChops, ImageOps

from devstack import stack
from devstack.demo.photos import samples

RENDITIONS = ("large.webp", "small.avif", "thumb.jpg")


def photo(megabytes: float = 1.0) -> bytes:
    """A photo as JPEG of about that size: one of the demo's, enlarged, with the grain of a camera."""
    with Image.open(samples()[0].path) as small:
        large = small.convert("RGB").resize((2400, 2400), Image.Resampling.BICUBIC)
    grain = Image.merge("RGB", [Image.effect_noise(large.size, 12)] * 3)
    large = ImageChops.add(large, grain, scale=1, offset=-128)
    for quality in range(95, 20, -3):
        packed = io.BytesIO()
        large.save(packed, "JPEG", quality=quality)
        if packed.tell() <= megabytes * 1_050_000:
            break
    return packed.getvalue()


def bare_pillow(data: bytes) -> float:
    """Seconds for the same renditions by hand: decode once, big to small."""
    started = time.perf_counter()
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        large = image.convert("RGB")
        large.thumbnail((1600, 1600), Image.Resampling.LANCZOS)
        large.save(io.BytesIO(), "WEBP", quality=80)
        small = large.copy()
        small.thumbnail((800, 800), Image.Resampling.LANCZOS)
        small.save(io.BytesIO(), "AVIF", speed=8)
        ImageOps.fit(small, (300, 300)).save(io.BytesIO(), "JPEG")
    return time.perf_counter() - started


async def through(source: ContainerClient, output: ContainerClient, name: str, data: bytes) -> float:
    """Seconds from the blob written to the last rendition visible."""
    await source.upload_blob(name, data)
    started = time.perf_counter()
    paths = [f"web/{name}/{rendition}" for rendition in RENDITIONS]
    while paths:
        try:
            await output.get_blob_client(paths[-1]).get_blob_properties()
            paths.pop()
        except ResourceNotFoundError:
            await asyncio.sleep(0.005)
    return time.perf_counter() - started


async def measure(photos: int) -> None:
    """Print the table."""
    data = photo()
    options = stack.Options(data=None)
    async with stack.running(options, lambda *_: None) as running:
        connection = running.settings["IMAGES"]
        async with BlobServiceClient.from_connection_string(connection) as blobs:
            source, output = blobs.get_container_client("input"), blobs.get_container_client("output")
            await through(source, output, "warm-up.jpg", data)
            times = [(await through(source, output, f"{n}.jpg", data), bare_pillow(data)) for n in range(photos)]
    ours, theirs = [sorted(column) for column in zip(*times, strict=True)]
    print(f"{photos} photos of {len(data) / 1e6:.1f} MB, three renditions each, one after the other")
    print(f"{'':28}{'p50':>10}{'worst':>10}")
    for label, column in (("pipeline (poll included)", ours), ("bare Pillow", theirs)):
        print(f"{label:28}{statistics.median(column) * 1000:>7.0f} ms{column[-1] * 1000:>7.0f} ms")
    print(f"{'ratio':28}{statistics.median(ours) / statistics.median(theirs):>10.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=Path(__file__).stem)
    parser.add_argument("--photos", type=int, default=20)
    asyncio.run(measure(parser.parse_args().photos))
