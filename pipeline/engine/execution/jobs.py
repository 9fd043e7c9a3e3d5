"""Jobs inside a session, one after another, each start to end. The order is fixed and the same for every recipe:

    remove the last job's files → sniff → limits → open with the allow-list → decode once → colors to sRGB → upright
    → shared transforms → for each rendition: its transforms → encode → verify → report → remove the source

Colors come before orientation only in the order of the work (turning pixels does not change their colors); every
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

from .. import protocol
from ..base import Transform, TransformContext
from ..decode import sniff
from ..decode.guard import pixel_limit
from ..decode.plan import forecast_size, min_decode_scale, rows_needed
from ..decode.source import Source, open_source, require_codec
from ..encode.encoder import EncodeRequest, encode_rendition
from ..encode.formats import FORMATS, Format, Keep
from ..encode.output import Output
from ..errors import EngineError
from ..image_view import ImageView
from ..protocol import Failure, Job, RenditionJob, RenditionReport, Report, SourceReport
from ..transforms.registry import FIRST, build_transforms
from ..transforms.select_frame import Frame
from ..transforms.to_srgb import ToSrgb
from .bundle import write_bundle
from .tamper_check import TamperCheck

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
        reports = _execute_all(jobs, place)
        file = jobs[0]["report"]
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the document, the host must hear of it
        text = f"the job document cannot be used: {type(error).__name__}: {error}"
        reports = [_report(_JobRecord(), [], Failure(kind="bad_job", message=text))]
    body = protocol.encode_reports(reports)
    if file is None or len(body) <= protocol.INLINE_REPORT_CHARACTERS:
        _print_line(protocol.report_line(body))
        return
    (place / file).write_bytes(body)
    _print_line(protocol.report_line(body, file))


def _execute_all(jobs: list[Job], place: Path) -> list[Report]:
    """The jobs done, unless something is wrong with the session; what is wrong with it afterwards is reported."""
    if place not in _tamper_checks:
        _tamper_checks[place] = TamperCheck(place)
    watch = _tamper_checks[place]
    found = watch.before_execution()
    if found:
        text = f"somebody else has been in the session: it has {found} that was not there"
        return [_report(_JobRecord(), [], Failure(kind="session_tainted", message=text)) for _ in jobs]
    reports = [execute_job(job, place) for job in jobs]
    file = jobs[0].get("pack")
    if file and _is_name(file):
        write_bundle(place / file, reports)
    reports[0]["tainted"] = watch.after_execution()
    return reports


def execute_job(job: Job, directory: Path) -> Report:
    """Do the job with files in `directory`. A failure stands in the report, and then no rendition is left."""
    files = [rendition["file"] for rendition in job["renditions"]]
    record = _JobRecord()
    try:
        _check_names([job["source"], job["report"], *job["remove"], *files, *job.get("assets", {}).values()])
        _remove(directory, job["remove"])
        with pixel_limit(job["limits"]), record.hold, record.timed("total"):
            renditions = _make_renditions(job, directory, record)
        return _report(record, renditions, None)
    except EngineError as refusal:
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
    return _report(record, [], failure)


_tamper_checks: dict[Path, TamperCheck] = {}
"""One for the directory of the session, from its first job on."""


@dataclass
class _JobRecord:
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
class _RenditionPlan:
    """One rendition on its way: what is done to each frame, and the frames that are done."""

    job: RenditionJob
    steps: list[Transform]
    kind: Format
    output: Output
    animated: bool = False
    frames: list[Image.Image] = field(default_factory=list)
    ms: float = 0.0


def _make_renditions(job: Job, directory: Path, record: _JobRecord) -> list[RenditionReport]:
    """Every rendition made and written; the bigger ones first, because smaller ones can be made from them."""
    shared = build_transforms(job["transforms"])
    plans = [_plan_rendition(rendition) for rendition in job["renditions"]]
    index = next((step.index for step in shared if isinstance(step, Frame)), None)
    with record.timed("open"):
        source = record.hold.enter_context(
            open_source(directory / job["source"], job["formats"], job["limits"], index or 0)
        )
    record.source = source.report()
    count = _count_frames(source, plans) if index is None else 1
    chains = [[*shared, *plan.steps] for plan in plans]
    source.limit_rows(rows_needed(source.size, chains, FIRST))
    scale = max((min_decode_scale(source.size, chain) for chain in chains), default=1.0)
    frames = source.decode_frames(scale, _color_conversion(shared), count, patch=job.get("on_truncated") == "patch")
    context, done = replace(_context(job, directory), animated=count > 1), {}
    for number in range(count):
        with record.timed("decode"):
            view = next(frames)
        own = replace(context)
        with record.timed("shared"):
            view = _apply(view, shared, own)
        for plan in sorted(plans, key=lambda plan: -_forecast_area(view, plan.steps)):
            started = time.perf_counter()
            if number == 0 or plan.animated:
                plan.frames.append(_apply(view, plan.steps, replace(own)).read_pixels())
            if number == (count - 1 if plan.animated else 0):
                done[plan.job["name"]] = _encode_and_write(plan, source, shared, job, directory, started)
            plan.ms += time.perf_counter() - started
    return [done[plan.job["name"]] for plan in plans]


def _plan_rendition(rendition: RenditionJob) -> _RenditionPlan:
    """What the job says of one rendition. Raise Refusal for what this engine or this session does not know."""
    kind = FORMATS.get(rendition["format"])
    if kind is None:
        raise EngineError("bad_job", f"this engine knows no format {rendition['format']!r}")
    if not kind.decided_late:
        require_codec(kind.pillow, "write")
    try:
        options, output = kind(**rendition["options"]), Output(**rendition.get("output", {}))
    except TypeError as error:
        raise EngineError("bad_job", f"rendition {rendition['name']}: {error}") from error
    return _RenditionPlan(rendition, build_transforms(rendition["transforms"]), options, output)


def _count_frames(source: Source, plans: list[_RenditionPlan]) -> int:
    """How many frames to decode: all of an animation when a rendition shows them. Refusal when one takes none."""
    if not source.animated:
        return 1
    for plan in plans:
        if plan.output.animation == "reject":
            name = plan.job["name"]
            text = f"the source is an animation of {source.frames} frames, which rendition {name} refuses"
            raise EngineError("animation_rejected", text)
        kind = plan.kind.format_for(source.format) if isinstance(plan.kind, Keep) else plan.kind
        plan.animated = kind.animates and plan.output.animation == "keep"
    return source.frames if any(plan.animated for plan in plans) else 1


def _encode_and_write(
    plan: _RenditionPlan, source: Source, shared: list[Transform], job: Job, directory: Path, started: float
) -> RenditionReport:
    """The rendition encoded and written."""
    untouched = (
        all(step.name in PIXEL_PRESERVING for step in (*shared, *plan.steps)) and plan.frames[0].size == source.size
    )
    timing = source.timing if plan.animated else None
    made = encode_rendition(
        EncodeRequest(plan.job["name"], plan.frames, timing, plan.kind, plan.output, job["limits"], untouched), source
    )
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


PIXEL_PRESERVING = frozenset({"auto_orient", "to_srgb", "resize"})
"""Transforms that change no pixel as long as the size stays the same."""


def _context(job: Job, directory: Path) -> TransformContext:
    focal = job.get("focal")
    assets = {name: directory / file for name, file in job.get("assets", {}).items()}
    return TransformContext(job["limits"]["max_rendition_pixels"], (focal[0], focal[1]) if focal else None, assets)


def _apply(view: ImageView, steps: list[Transform], context: TransformContext) -> ImageView:
    """The picture after all steps; what breaks in one is named after it."""
    for step in steps:
        try:
            view = step.apply(view, context)
        except (EngineError, MemoryError):
            raise
        except Exception as error:
            text = f"{step.name} broke on this image ({type(error).__name__}: {error}): change its parameters"
            raise EngineError("transform_failed", text) from error
    return view


def _forecast_area(view: ImageView, steps: list[Transform]) -> int:
    width, height = forecast_size(view.size, steps)
    return width * height


def _color_conversion(shared: list[Transform]) -> ToSrgb:
    return next((step for step in shared if isinstance(step, ToSrgb)), ToSrgb())


def _report(record: _JobRecord, renditions: list[RenditionReport], failure: Failure | None) -> Report:
    if failure:
        failure["message"] = protocol.shorten_message(failure["message"])
    return Report(
        version=protocol.VERSION,
        versions=versions(),
        source=record.source,
        renditions=renditions,
        failure=failure,
        ms=record.ms,
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
            raise EngineError("bad_job", f"{name!r} is not the name of a file in the session's directory")


def _source_format(directory: Path, name: str) -> str:
    """Detect the format of the source by its first bytes; empty when the file or the format is unknown."""
    with suppress(OSError), (directory / name).open("rb") as stream:
        return sniff.detect_format(stream.read(sniff.HEAD_BYTES)) or ""
    return ""


def _is_name(name: str) -> bool:
    return bool(name) and name not in {".", ".."} and not set(name) & set("/\\\0")


def _remove(directory: Path, names: list[str]) -> None:
    for name in names:
        # A name that is no file of ours (checked above, where it is then reported) must not break the cleaning.
        if _is_name(name):
            with suppress(OSError):
                (directory / name).unlink(missing_ok=True)


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
