"""One job inside a session, start to end. The order is fixed and the same for every recipe:

    remove the last job's files → sniff → limits → open with the allow-list → decode once → colours to sRGB → upright
    → shared transforms → for each rendition: its transforms → encode → verify → report → remove the source

Colours come before orientation only in the order of the work (turning pixels does not change their colours); every
coordinate in a recipe is read after both.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import protocol
from .base import Scene, Transform
from .encode import Made, make
from .failures import Refusal
from .formats import FORMATS
from .picture import Picture
from .plan import expected, least_scale
from .protocol import Failure, Job, RenditionJob, RenditionReport, Report, SourceReport
from .registry import build
from .source import limited, opened, require
from .to_srgb import ToSrgb


def main(encoded_job: str, directory: str) -> None:
    """Do the job and print its report as the last line of standard output. Never raises, whatever the source is."""
    place = Path(directory)
    file = None
    try:
        job = protocol.decode_job(encoded_job)
        report = run(job, place)
        file = job["report"]
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the document, the host must hear of it
        text = f"the job document cannot be used: {type(error).__name__}: {error}"
        report = _report(_Work(), [], Failure(kind="bad_job", message=text))
    body = protocol.dump_report(report)
    if file is None or len(body) <= protocol.LINE_LIMIT:
        _say(protocol.report_line(body))
        return
    (place / file).write_bytes(body)
    _say(protocol.report_line(body, file))


def run(job: Job, directory: Path) -> Report:
    """Do the job with files in `directory`. A failure stands in the report, and then no rendition is left."""
    files = [rendition["file"] for rendition in job["renditions"]]
    work = _Work()
    try:
        _check_names([job["source"], job["report"], *job["remove"], *files, *job.get("assets", {}).values()])
        _remove(directory, job["remove"])
        with limited(job["limits"]), work.timed("total"):
            renditions = _renditions(job, directory, work)
        return _report(work, renditions, None)
    except Refusal as refusal:
        failure = Failure(kind=refusal.kind, message=refusal.message)
    except MemoryError:
        failure = Failure(kind="out_of_memory", message="the session ran out of memory: lower the limit of pixels")
    except Exception as error:  # noqa: BLE001 - the boundary of the session: nothing may escape
        failure = Failure(kind="engine_failed", message=f"{type(error).__name__}: {error}")
    finally:
        _remove(directory, [job["source"]])
    _remove(directory, files)
    return _report(work, [], failure)


@dataclass
class _Work:
    """What is known so far: it goes into the report even when the job fails."""

    source: SourceReport | None = None
    ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.ms[stage] = round((time.perf_counter() - started) * 1000, 2)


def _renditions(job: Job, directory: Path, work: _Work) -> list[RenditionReport]:
    """Every rendition made and written; the bigger ones first, because smaller ones can be made from them."""
    shared = build(job["transforms"])
    jobs = [(rendition, build(rendition["transforms"])) for rendition in job["renditions"]]
    for rendition, _ in jobs:
        _require_format(rendition)
    with opened(directory / job["source"], job["formats"], job["limits"]) as source:
        work.source = source.report()
        scale = max((least_scale(source.size, [*shared, *own]) for _, own in jobs), default=1.0)
        with work.timed("decode"):
            picture = source.decode(scale, _colours(shared))
    scene = _scene(job, directory)
    with work.timed("shared"):
        picture = _apply(picture, shared, scene)
    done: dict[str, RenditionReport] = {}
    for rendition, own in sorted(jobs, key=lambda pair: -_area(picture, pair[1])):
        with work.timed(f"rendition {rendition['name']}"):
            made = make(_apply(picture, own, replace(scene)), rendition, job["limits"])
        (directory / rendition["file"]).write_bytes(made.body)
        done[rendition["name"]] = _rendition_report(rendition, made, work.ms.pop(f"rendition {rendition['name']}"))
    return [done[rendition["name"]] for rendition in job["renditions"]]


def _scene(job: Job, directory: Path) -> Scene:
    focal = job.get("focal")
    assets = {name: directory / file for name, file in job.get("assets", {}).items()}
    return Scene(job["limits"]["max_rendition_pixels"], (focal[0], focal[1]) if focal else None, assets)


def _apply(picture: Picture, steps: list[Transform], scene: Scene) -> Picture:
    """The picture after all steps; what breaks in one is named after it."""
    for step in steps:
        try:
            picture = step.apply(picture, scene)
        except (Refusal, MemoryError):
            raise
        except Exception as error:
            text = f"{step.name} broke on this image ({type(error).__name__}: {error}): change its parameters"
            raise Refusal("transform_failed", text) from error
    return picture


def _area(picture: Picture, steps: list[Transform]) -> int:
    width, height = expected(picture.size, steps)
    return width * height


def _colours(shared: list[Transform]) -> ToSrgb:
    return next((step for step in shared if isinstance(step, ToSrgb)), ToSrgb())


def _require_format(rendition: RenditionJob) -> None:
    kind = FORMATS.get(rendition["format"])
    if kind is None:
        raise Refusal("bad_job", f"this engine knows no format {rendition['format']!r}")
    require(kind.pillow, "write")


def _rendition_report(rendition: RenditionJob, made: Made, ms: float) -> RenditionReport:
    return RenditionReport(
        name=rendition["name"],
        file=rendition["file"],
        format=made.format,
        size=len(made.body),
        sha256=hashlib.sha256(made.body).hexdigest(),
        width=made.size[0],
        height=made.size[1],
        ms=ms,
        extra=made.extra,
    )


def _report(work: _Work, renditions: list[RenditionReport], failure: Failure | None) -> Report:
    return Report(
        version=protocol.VERSION,
        versions=versions(),
        source=work.source,
        renditions=renditions,
        failure=failure,
        ms=work.ms,
    )


def versions() -> dict[str, str]:
    """What made the renditions: the same versions make the same bytes."""
    from PIL import __version__, features

    found = {"python": sys.version.split()[0], "pillow": __version__}
    for name in ("libjpeg_turbo", "webp", "avif", "littlecms2"):
        version = features.version(name)
        if version:
            found[name] = version
    return found


def _check_names(names: list[str]) -> None:
    """Every file lies in the session's directory itself."""
    for name in names:
        if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
            raise Refusal("bad_job", f"{name!r} is not the name of a file in the session's directory")


def _remove(directory: Path, names: list[str]) -> None:
    for name in names:
        # A name that is no file of ours (checked above, where it is then reported) must not break the cleaning.
        if name and "/" not in name and "\0" not in name:
            (directory / name).unlink(missing_ok=True)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
