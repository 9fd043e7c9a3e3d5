"""Jobs inside a session, one after another, each start to end. The order is fixed and the same for every recipe:

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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import protocol, sniff
from .base import Scene, Transform
from .bundle import pack
from .decode_guard import limited
from .decode_plan import expected, least_scale, rows_needed
from .encode import Order, make
from .errors import Refusal
from .formats import FORMATS, Format, Keep
from .output import Output
from .picture import Picture
from .protocol import Failure, Job, RenditionJob, RenditionReport, Report, SourceReport
from .registry import FIRST, build
from .select_frame import Frame
from .source import Source, opened, require
from .tamper_check import Tidiness
from .to_srgb import ToSrgb

if TYPE_CHECKING:
    from PIL import Image


def main(encoded_jobs: str, directory: str) -> None:
    """Do the jobs and print their reports as the last line of standard output. Never raises, whatever the sources are.

    What is wrong with one of them is in its report; the others do not notice.
    """
    place = Path(directory)
    file = None
    try:
        jobs = protocol.decode_jobs(encoded_jobs)
        reports = _watched(jobs, place)
        file = jobs[0]["report"]
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the document, the host must hear of it
        text = f"the job document cannot be used: {type(error).__name__}: {error}"
        reports = [_report(_Work(), [], Failure(kind="bad_job", message=text))]
    body = protocol.dump_reports(reports)
    if file is None or len(body) <= protocol.LINE_LIMIT:
        _say(protocol.report_line(body))
        return
    (place / file).write_bytes(body)
    _say(protocol.report_line(body, file))


def _watched(jobs: list[Job], place: Path) -> list[Report]:
    """The jobs done, unless something is wrong with the session; what is wrong with it afterwards is reported."""
    if place not in _watches:
        _watches[place] = Tidiness(place)
    watch = _watches[place]
    found = watch.begin()
    if found:
        text = f"somebody else has been in the session: it has {found} that was not there"
        return [_report(_Work(), [], Failure(kind="session_tainted", message=text)) for _ in jobs]
    reports = [run(job, place) for job in jobs]
    file = jobs[0].get("pack")
    if file and _is_name(file):
        pack(place / file, reports)
    reports[0]["tainted"] = watch.end()
    return reports


def run(job: Job, directory: Path) -> Report:
    """Do the job with files in `directory`. A failure stands in the report, and then no rendition is left."""
    files = [rendition["file"] for rendition in job["renditions"]]
    work = _Work()
    try:
        _check_names([job["source"], job["report"], *job["remove"], *files, *job.get("assets", {}).values()])
        _remove(directory, job["remove"])
        with limited(job["limits"]), work.hold, work.timed("total"):
            renditions = _renditions(job, directory, work)
        return _report(work, renditions, None)
    except Refusal as refusal:
        failure = Failure(kind=refusal.kind, message=refusal.message)
    except MemoryError:
        failure = Failure(kind="out_of_memory", message="the session ran out of memory: lower the limit of pixels")
    except Exception as error:  # noqa: BLE001 - the boundary of the session: nothing may escape
        failure = Failure(kind="engine_failed", message=f"{type(error).__name__}: {error}")
    finally:
        found = _source_format(directory, job["source"])
        _remove(directory, [job["source"]])
    failure["source_format"] = found
    _remove(directory, files)
    return _report(work, [], failure)


_watches: dict[Path, Tidiness] = {}
"""One for the directory of the session, from its first job on."""


@dataclass
class _Work:
    """What is known so far: it goes into the report even when the job fails."""

    source: SourceReport | None = None
    ms: dict[str, float] = field(default_factory=dict)
    hold: ExitStack = field(default_factory=ExitStack)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.ms[stage] = round(self.ms.get(stage, 0) + (time.perf_counter() - started) * 1000, 2)


@dataclass
class _Plan:
    """One rendition on its way: what is done to each frame, and the frames that are done."""

    job: RenditionJob
    steps: list[Transform]
    kind: Format
    output: Output
    animated: bool = False
    frames: list[Image.Image] = field(default_factory=list)
    ms: float = 0.0


def _renditions(job: Job, directory: Path, work: _Work) -> list[RenditionReport]:
    """Every rendition made and written; the bigger ones first, because smaller ones can be made from them."""
    shared = build(job["transforms"])
    plans = [_plan(rendition) for rendition in job["renditions"]]
    index = next((step.index for step in shared if isinstance(step, Frame)), None)
    with work.timed("open"):
        source = work.hold.enter_context(opened(directory / job["source"], job["formats"], job["limits"], index or 0))
    work.source = source.report()
    count = _frames_wanted(source, plans) if index is None else 1
    chains = [[*shared, *plan.steps] for plan in plans]
    source.only_rows(rows_needed(source.size, chains, FIRST))
    scale = max((least_scale(source.size, chain) for chain in chains), default=1.0)
    frames = source.pictures(scale, _colours(shared), count, patch=job.get("on_truncated") == "patch")
    scene, done = replace(_scene(job, directory), moving=count > 1), {}
    for number in range(count):
        with work.timed("decode"):
            picture = next(frames)
        own = replace(scene)
        with work.timed("shared"):
            picture = _apply(picture, shared, own)
        for plan in sorted(plans, key=lambda plan: -_area(picture, plan.steps)):
            started = time.perf_counter()
            if number == 0 or plan.animated:
                plan.frames.append(_apply(picture, plan.steps, replace(own)).read())
            if number == (count - 1 if plan.animated else 0):
                done[plan.job["name"]] = _finish(plan, source, shared, job, directory, started)
            plan.ms += time.perf_counter() - started
    return [done[plan.job["name"]] for plan in plans]


def _plan(rendition: RenditionJob) -> _Plan:
    """What the job says of one rendition. Raise Refusal for what this engine or this session does not know."""
    kind = FORMATS.get(rendition["format"])
    if kind is None:
        raise Refusal("bad_job", f"this engine knows no format {rendition['format']!r}")
    if not kind.decided_late:
        require(kind.pillow, "write")
    try:
        options, output = kind(**rendition["options"]), Output(**rendition.get("output", {}))
    except TypeError as error:
        raise Refusal("bad_job", f"rendition {rendition['name']}: {error}") from error
    return _Plan(rendition, build(rendition["transforms"]), options, output)


def _frames_wanted(source: Source, plans: list[_Plan]) -> int:
    """How many frames to decode: all of an animation when a rendition shows them. Refusal when one takes none."""
    if not source.animated:
        return 1
    for plan in plans:
        if plan.output.animation == "reject":
            name = plan.job["name"]
            text = f"the source is an animation of {source.frames} frames, which rendition {name} refuses"
            raise Refusal("animation_rejected", text)
        kind = plan.kind.like(source.format) if isinstance(plan.kind, Keep) else plan.kind
        plan.animated = kind.animates and plan.output.animation == "keep"
    return source.frames if any(plan.animated for plan in plans) else 1


def _finish(
    plan: _Plan, source: Source, shared: list[Transform], job: Job, directory: Path, started: float
) -> RenditionReport:
    """The rendition encoded and written."""
    untouched = all(step.name in UNTOUCHING for step in (*shared, *plan.steps)) and plan.frames[0].size == source.size
    timing = source.timing if plan.animated else None
    made = make(Order(plan.job["name"], plan.frames, timing, plan.kind, plan.output, job["limits"], untouched), source)
    (directory / plan.job["file"]).write_bytes(made.body)
    plan.frames = []
    return RenditionReport(
        name=plan.job["name"],
        file=plan.job["file"],
        format=made.format,
        size=len(made.body),
        sha256=hashlib.sha256(made.body).hexdigest(),
        width=made.size[0],
        height=made.size[1],
        ms=round((plan.ms + time.perf_counter() - started) * 1000, 2),
        extra=made.extra,
    )


UNTOUCHING = frozenset({"auto_orient", "to_srgb", "resize"})
"""Transforms that change no pixel as long as the size stays the same."""


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


def _report(work: _Work, renditions: list[RenditionReport], failure: Failure | None) -> Report:
    if failure:
        failure["message"] = protocol.shortened(failure["message"])
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
        if not _is_name(name):
            raise Refusal("bad_job", f"{name!r} is not the name of a file in the session's directory")


def _source_format(directory: Path, name: str) -> str:
    """Detect the format of the source by its first bytes; empty when the file or the format is unknown."""
    with suppress(OSError), (directory / name).open("rb") as stream:
        return sniff.sniff(stream.read(sniff.HEAD)) or ""
    return ""


def _is_name(name: str) -> bool:
    return bool(name) and name not in {".", ".."} and not set(name) & set("/\\\0")


def _remove(directory: Path, names: list[str]) -> None:
    for name in names:
        # A name that is no file of ours (checked above, where it is then reported) must not break the cleaning.
        if _is_name(name):
            with suppress(OSError):
                (directory / name).unlink(missing_ok=True)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
